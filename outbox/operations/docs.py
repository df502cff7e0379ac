"""Where the documents say more: a section for each finding and alert, by its name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

OPERATIONS, GOING_LIVE = "operations.md", "going-live.md"
"""The pages that have sections for findings, alerts and metrics; and for what `outbox doctor` finds."""


@cache
def _root() -> str:
    """The address of the documents, as the installed package names it; otherwise the folder in its repository."""
    try:
        urls = metadata("outbox-relay").get_all("Project-URL") or []
    except PackageNotFoundError:
        urls = []
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    return str(named.get("Documentation", "docs")).rstrip("/")


def section(name: str, page: str = OPERATIONS) -> str:
    """The section of `page` about `name`."""
    return f"{_root()}/{page}#{name.lower()}"

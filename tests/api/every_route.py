"""All routes of the application, and so of what it will have some day."""

from __future__ import annotations

from collections.abc import Iterator

from outbox.settings import OutboxSettings, load
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings

UNENDING = {"/dashboard/events"}


def _routes() -> Iterator[tuple[str, str]]:
    for outer in create_app(load(ApiSettings), load(OutboxSettings)).routes:
        for route in getattr(getattr(outer, "original_router", None), "routes", [outer]):
            for method in sorted(getattr(route, "methods", None) or ()):
                if route.path not in UNENDING:
                    yield method, route.path


ROUTES = sorted(_routes())
"""Method and path of each, but for those whose answer does not end."""

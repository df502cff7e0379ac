"""Pages: templates, and how they write numbers and times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bson import ObjectId
from fastapi.responses import HTMLResponse
from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from starlette.staticfiles import StaticFiles

from outbox.message import document as message
from outbox.operations import messages, moments, replay
from outbox.printable import printable
from outbox.servers.clock import as_text
from outbox_api.dashboard.sampler import Frame
from outbox_api.headers import OWN_PAGES

HERE = Path(__file__).parent
REGIONS = ("verdict", "flow", "day", "waiting", "workers", "streams", "partitions", "timeline", "jobs")
"""The parts of the overview that change while one looks at them."""

static = StaticFiles(directory=HERE / "static")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def _when(value: object) -> str:
    return moments.show(value) if isinstance(value, datetime) else "–"


def _printable(value: Any) -> Any:
    """What a page can hold: a name in Redis may be bytes that have no UTF-8 form. Regions were made so before."""
    return printable(value, keep_lines=True) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _lasting(seconds: float | None) -> str:
    return "–" if seconds is None else moments.show_seconds(max(0.0, seconds))


# Everything is escaped where it is put in: names of files come from strangers. What is not there is shown as nothing: a
# message that was written around the library is the one to look at.
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=ChainableUndefined, trim_blocks=True,
    lstrip_blocks=True, finalize=_printable,
)  # fmt: skip
_templates.filters |= {
    "number": _number, "when": _when, "lasting": _lasting, "iso": as_text, "plain": messages.plain,
    "messages": replay.in_words,
}  # fmt: skip
_templates.tests["message_id"] = lambda value: isinstance(value, ObjectId)
_templates.globals |= {"State": message.State, "regions": REGIONS}


def page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page as an answer."""
    text = _templates.get_template(template).render(values)
    # Kept nowhere: after a logout, "back" shows nothing.
    return HTMLResponse(text, status, {"Content-Security-Policy": OWN_PAGES, "Cache-Control": "no-store"})


def draw(frame: Frame) -> Mapping[str, str]:
    """The regions of the overview as HTML, by the ids of their elements."""
    macros = regions()
    return {name: str(getattr(macros, name)(frame)).strip() for name in REGIONS}


def regions() -> Any:
    """The macros that draw them, one by one."""
    return _templates.get_template("regions.html").module

"""Stored messages as people and other programs read them: found, listed by page, made plain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from bson import ObjectId, Timestamp

from outbox.database import OUTBOX, Database, Document
from outbox.errors import NoSuchMessage, UsageError
from outbox.message import pages
from outbox.message.document import State
from outbox.servers.clock import as_text

MAX_PAGE = 500

INTERNAL = {"fence": 0}
"""What is of no use to anybody but relays, and is shown to nobody."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages, newest first. `before`: pass it to get the next page; None after the last."""

    messages: tuple[Document, ...]
    before: ObjectId | None


def read_id(text: str) -> ObjectId:
    """A message id as it is shown and typed. Raises UsageError when `text` cannot be one."""
    if not ObjectId.is_valid(text):
        raise UsageError(f"{text!r:.60} is not a message id: one has 24 hexadecimal digits")
    return ObjectId(text)


async def find(database: Database, message: ObjectId) -> Document:
    """The stored document; of a very large one, what makes it so is left out. Raises NoSuchMessage."""
    found = await pages.find(database[OUTBOX], message, fields=INTERNAL)
    if found is None:
        raise NoSuchMessage(f"there is no message {message}: it was pruned or discarded, or never committed")
    return found


async def list_page(
    database: Database,
    *,
    state: State | None = None,
    stream: str | None = None,
    key: str | None = None,
    before: ObjectId | None = None,
    limit: int = 50,
) -> Page:
    """Up to `limit` messages (500 at most), and about 2 MB, that match all that is given, by id, the newest first.

    Ids follow the clocks of those who append, so this is nearly the order of appending, and good enough to look
    through. What is appended between two pages is on neither. Ids of another kind, which only others write, are on the
    first page, as far as it holds them. Of a very large message, what makes it so is left out.
    """
    limit = min(max(limit, 1), MAX_PAGE)
    query: Document = {}
    if state is not None:
        query["state"] = state.value
    if stream is not None:
        query["stream"] = stream
    if key is not None:
        query["key"] = key
    messages = database[OUTBOX]
    odd: list[Document] = []
    if before is None:
        others = {**query, "_id": {"$not": {"$lte": _LAST}}}
        odd, _ = await pages.read(messages, others, limit=limit, fields=INTERNAL, hint="_id_", newest_first=False)
    rest = limit - len(odd)
    query["_id"] = {"$lt": before} if before else {"$lte": _LAST}
    if not rest:
        more = await messages.find_one(query, {"_id": 1}) is not None
        return Page(tuple(odd), _LAST if more else None)
    found, more = await pages.read(messages, query, limit=rest, fields=INTERNAL)
    return Page((*odd, *found), found[-1]["_id"] if more else None)


_LAST = ObjectId(b"\xff" * 12)
"""Every ObjectId is less or equal, and nothing else is: MongoDB compares within a type."""


def plain(document: Document) -> dict[str, Any]:
    """A stored document as JSON can hold it: `id` for `_id`, ids as text, times in ISO 8601 and UTC."""
    return {"id" if name == "_id" else name: _plain(value) for name, value in document.items()}


def _plain(value: Any) -> Any:
    match value:
        case None | str() | bool() | int():
            return value
        case float() if isfinite(value):
            return value
        case datetime():
            return as_text(value)
        case Timestamp():
            return f"{value.time}:{value.inc}"
        case dict():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case _:
            return str(value)

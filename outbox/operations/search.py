"""Search: messages and their files by whatever an operator has in hand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from outbox.database import FILES, LENIENT, OUTBOX, Database, Document
from outbox.message import pages, subjects
from outbox.message.document import State
from outbox.servers.clock import id_at
from outbox.streams import identifiers
from outbox.streams.declaration import Subject
from outbox.streams.identifiers import same
from outbox_api.uploads.records import ABANDONED

LIMIT = 50
NEWEST_FILES = 50_000
"""Files that are looked through for a part of a name, the newest; a name's beginning is found among all."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for; what is given must all hold. `since` (included) and `until` (not included): when appended."""

    text: str = ""
    state: State | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: ObjectId | None = None

    @property
    def empty(self) -> bool:
        return not (self.text or self.state or self.since or self.until)


@dataclass(frozen=True, slots=True)
class Hit:
    """A message, a file, or both. A file without a message was pruned of it, or still comes in."""

    message: Document | None
    file: Document | None


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, newest first. `before`: pass it to get the next page; None after the last. `vague`: more names match than
    were looked at.
    """

    hits: tuple[Hit, ...]
    before: ObjectId | None = None
    vague: bool = False


async def search(database: Database, wanted: Wanted) -> Found:
    """Look by an id of a file or a message, by a name or a part of one, by a key, by state and time."""
    text = wanted.text.strip()
    if not text:
        return await _by_state(database, wanted)
    chosen: list[Document] = [subjects.about(identifiers.readings(text)), {"key": text}]
    if ObjectId.is_valid(text) and len(text) == 24:
        id_ = ObjectId(text)
        files = await _files(database, {"_id": id_})
        chosen += [{"_id": id_}, {"key": text.lower()}]
    else:
        files = await _named(database, text)
        chosen.append(subjects.about(file["_id"] for file in files))
    found, more = await _messages(database, {"$or": chosen, **_narrowed(wanted)})
    hits = [Hit(message, _file_of(message, files)) for message in found]
    hits = await _with_files(database, hits)
    if wanted.state is None and wanted.since is None and wanted.until is None and wanted.before is None:
        shown = {same(hit.file["_id"]) for hit in hits if hit.file}
        hits += [Hit(None, file) for file in files if same(file["_id"]) not in shown]
    return Found(tuple(hits), found[-1]["_id"] if more else None, len(files) >= LIMIT)


async def _by_state(database: Database, wanted: Wanted) -> Found:
    found, more = await _messages(database, _narrowed(wanted))
    hits = await _with_files(database, [Hit(message, None) for message in found])
    return Found(tuple(hits), found[-1]["_id"] if more else None)


def _narrowed(wanted: Wanted) -> Document:
    query: Document = {"state": wanted.state.value} if wanted.state else {}
    # By ids, which begin with the time of appending and are indexed.
    ids: Document = {}
    if wanted.since:
        ids["$gte"] = id_at(wanted.since)
    upper = [id_at(wanted.until)] if wanted.until else []
    upper += [wanted.before] if wanted.before else []
    if upper:
        ids["$lt"] = min(upper)
    return query | ({"_id": ids} if ids else {})


async def _messages(database: Database, query: Document) -> tuple[list[Document], bool]:
    return await pages.read(database[OUTBOX], query, limit=LIMIT, large=pages.SMALL)


async def _files(database: Database, query: Document) -> list[Document]:
    wanted = {**query, "parsing": {"$ne": ABANDONED}}
    found, _ = await pages.read(database[FILES], wanted, limit=LIMIT, large=pages.SMALL, page_bytes=LIMIT * pages.SMALL)
    return found


async def _named(database: Database, text: str) -> list[Document]:
    """Files whose name begins with `text`, and newer ones that have it anywhere, in whatever case."""
    if "\0" in text:
        return []  # a pattern with it is refused by MongoDB, and no file has such a name
    exact = await _files(database, {"filename": {"$regex": f"^{re.escape(text)}"}})
    collection = database[FILES].with_options(codec_options=LENIENT)
    anywhere = await collection.aggregate(
        [
            {"$sort": {"_id": -1}},
            {"$limit": NEWEST_FILES},
            {"$match": {"filename": {"$regex": re.escape(text), "$options": "i"}, "parsing": {"$ne": ABANDONED}}},
            {"$limit": LIMIT},
            pages.without_large_values(pages.SMALL),
        ]
    )
    found = {same(file["_id"]): file for file in [*exact, *await anywhere.to_list()]}
    return sorted(found.values(), key=lambda file: str(file["_id"]), reverse=True)[:LIMIT]


def _file_of(message: Document, files: Iterable[Document]) -> Document | None:
    ids = {same(id_) for id_ in subjects.ids_of(_FILE, message)}
    return next((file for file in files if same(file["_id"]) in ids), None)


async def _with_files(database: Database, hits: list[Hit]) -> list[Hit]:
    """The same, each with the file that its message is about, if there is one."""
    ids = [id_ for hit in hits if hit.message and not hit.file for id_ in subjects.ids_of(_FILE, hit.message)]
    files = await _files(database, {"_id": {"$in": ids}}) if ids else []
    return [Hit(hit.message, hit.file or (_file_of(hit.message, files) if hit.message else None)) for hit in hits]


_FILE = Subject()

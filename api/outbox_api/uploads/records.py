"""Files: the record of each upload, from its first byte to what the workers made of it.

`parsing` is `uploading` while contents come in, `queued` once a message tells of them, then what a worker sets:
`parsed`, or `error: ` and the reason. An upload that is given up is `abandoned` for the moment that its removal takes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import FILES, OUTBOX, Database, Document
from outbox.errors import NoSuchFile, StillUploading, UploadLost
from outbox.message import pages
from outbox_api.uploads import contents
from outbox_api.uploads.contents import Measured

UPLOADING, QUEUED, ABANDONED = "uploading", "queued", "abandoned"
FAILED = "error"
"""As a filter: every `error: …`."""

MAX_PAGE = 500

MARK: Document = {"begun_by": "outbox api"}
BEGUN_HERE: Document = {
    "$or": [
        MARK,
        # As the version before began them, without the mark.
        {"version": 0, **{name: {"$type": "null"} for name in ("size", "sha256", "folder_id", "message_id")}},
    ]
}
"""Matches uploads that the API has begun. What others keep in `files`, whatever they call it, is never removed."""


@dataclass(frozen=True, slots=True)
class File:
    """A file's record. `size` in bytes; what is None is not known yet, or was never written by an older program."""

    id: ObjectId
    filename: str | None
    folder_id: str | None
    content_type: str | None
    size: int | None
    sha256: str | None
    parsing: str | None
    version: int
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some files, newest first. `before`: pass it to get the next page; None after the last."""

    files: tuple[File, ...]
    before: ObjectId | None


async def begin(database: Database, file_id: ObjectId, filename: str, content_type: str) -> File:
    """Show that an upload has begun. Before any of its contents are written, so that none can be without a record."""
    document = await database[FILES].find_one_and_update(
        {"_id": file_id},
        {
            "$setOnInsert": {
                "filename": filename, "folder_id": None, "content_type": content_type,
                "size": None, "sha256": None, "parsing": UPLOADING, "version": 0, "message_id": None, **MARK,
            },
            # The server's clock, by which the upload is judged abandoned.
            "$currentDate": {"created_at": True, "updated_at": True},
        },
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )  # fmt: skip
    assert document is not None, "it was inserted"
    return _read(document)


async def touch(database: Database, file_ids: Sequence[ObjectId]) -> None:
    """Show that these uploads are alive. Raises UploadLost when one was taken for abandoned."""
    result = await database[FILES].update_many(
        {"_id": {"$in": file_ids}, "parsing": UPLOADING}, {"$currentDate": {"updated_at": True}}
    )
    if result.matched_count != len(file_ids):
        raise UploadLost(LOST)


@dataclass(frozen=True, slots=True)
class Complete:
    """An upload whose contents are all there, and the message that is going to tell of it."""

    begun: File
    folder_id: str
    measured: Measured
    message_id: ObjectId
    at: datetime
    """By the server's clock: what that said at the upload's beginning, and the time since."""

    @property
    def file(self) -> File:
        """The record as it becomes."""
        return replace(
            self.begun, folder_id=self.folder_id, size=self.measured.size, sha256=self.measured.sha256,
            parsing=QUEUED, version=1, updated_at=self.at,
        )  # fmt: skip

    def write(self, database: Database) -> UpdateOne:
        """What completes and queues the record, beside the append. It finds none that was taken for abandoned."""
        file = self.file
        change = {
            "folder_id": file.folder_id, "size": file.size, "sha256": file.sha256, "parsing": file.parsing,
            "version": file.version, "message_id": self.message_id, "updated_at": file.updated_at,
        }  # fmt: skip
        found = {"_id": file.id, "parsing": UPLOADING}
        return UpdateOne(found, {"$set": change}, namespace=database[FILES].full_name)


async def check_complete(
    session: AsyncClientSession, database: Database, file_ids: Sequence[ObjectId]
) -> dict[ObjectId, str | None]:
    """In a transaction: the folder of each file, all of which can be queued again. As text, whatever an older program
    has written; None: there is none.

    Raises NoSuchFile or StillUploading with the ids in question, and then nothing may be committed.
    """
    there = database[FILES].find({"_id": {"$in": file_ids}}, {"parsing": 1, "folder_id": 1}, session=session)
    found = {document["_id"]: document async for document in there}
    parsing = {file_id: document.get("parsing") for file_id, document in found.items()}
    if unknown := [file_id for file_id in file_ids if parsing.get(file_id, ABANDONED) == ABANDONED]:
        raise NoSuchFile(unknown)
    if incomplete := [file_id for file_id in file_ids if parsing[file_id] == UPLOADING]:
        raise StillUploading(incomplete)
    folders = {file_id: document.get("folder_id") for file_id, document in found.items()}
    return {file_id: None if folder is None else str(folder) for file_id, folder in folders.items()}


def requeue(database: Database, file_id: Any, message_id: ObjectId) -> UpdateOne:
    """The write, beside the append, that queues the file again, in its next version. It names the message, so that an
    older one is known as such."""
    change = {
        "$set": {"parsing": QUEUED, "message_id": message_id},
        "$inc": {"version": 1},
        "$currentDate": {"updated_at": True},
    }
    return UpdateOne({"_id": file_id}, change, namespace=database[FILES].full_name)


def naming(file_id: Any) -> dict[str, Any]:
    """How a message names the file: by its key. Files of before the outbox may have ids that are no ObjectId."""
    return {"key": str(file_id)} if isinstance(file_id, ObjectId) else {"subject": file_id}


async def happened(database: Database, file_id: ObjectId, message_id: ObjectId | None) -> bool:
    """Whether the transaction that wrote both the file's record and the message has happened. None: it never got there.

    The write comes first: it waits for a transaction that is still under way on the record. Without it, one that
    commits a moment after the look would be reported as not done.
    """
    await database[FILES].update_one({"_id": file_id}, {"$inc": {"fence": 1}})
    return await database[OUTBOX].find_one({"_id": message_id}, {"_id": 1}) is not None


async def find(database: Database, file_id: ObjectId) -> File:
    """The record. Raises NoSuchFile."""
    document = await pages.find(database[FILES], file_id, fields=_SHOWN)
    if document is None or document.get("parsing") == ABANDONED:
        raise NoSuchFile([file_id])
    return _read(document)


async def list_page(
    database: Database,
    *,
    folder_id: str | None = None,
    parsing: str | None = None,
    before: ObjectId | None = None,
    limit: int = 50,
) -> Page:
    """Up to `limit` files (500 at most), and about 2 MB, that match all that is given, the newest first.

    Ids of another kind, which files of before the outbox may have, are on the first page, as far as it holds them.
    """
    limit = min(max(limit, 1), MAX_PAGE)
    query: Document = {"parsing": {"$ne": ABANDONED}}
    if parsing == FAILED:
        query["parsing"] = re.compile(r"^error: ")
    elif parsing is not None:
        query["parsing"] = {"$eq": parsing, "$ne": ABANDONED}
    if folder_id is not None:
        query["folder_id"] = folder_id
    files = database[FILES]
    odd: list[Document] = []
    if before is None:
        # A page begins at an ObjectId, and MongoDB compares within a type: no later page has any of them.
        others = {**query, "_id": {"$not": {"$lte": _LAST}}}
        odd, _ = await pages.read(files, others, limit=limit, fields=_SHOWN, newest_first=False)
    query["_id"] = {"$lt": before} if before else {"$lte": _LAST}
    rest = limit - len(odd)
    if not rest:
        more = await files.find_one(query, {"_id": 1}) is not None
        return Page(tuple(map(_read, odd)), _LAST if more else None)
    found, more = await pages.read(files, query, limit=rest, fields=_SHOWN)
    return Page(tuple(map(_read, [*odd, *found])), found[-1]["_id"] if more else None)


_LAST = ObjectId(b"\xff" * 12)
"""Every ObjectId is less or equal, and nothing else is."""


async def abandon(database: Database, file_id: ObjectId) -> bool:
    """Remove an upload that will not be finished, contents and record; False when it was finished after all.

    May be called at any time, by several at once, and again after a crash half-way. The record is changed first:
    from then on the transaction that would finish the upload fails, and one that was faster is left alone.
    """
    giving_up = await database[FILES].update_one(
        {"_id": file_id, "parsing": {"$in": [UPLOADING, ABANDONED]}}, {"$set": {"parsing": ABANDONED}}
    )
    if not giving_up.matched_count and await database[FILES].find_one({"_id": file_id}, {"_id": 1}):
        return False
    await contents.remove(database, [file_id])
    await database[FILES].delete_one({"_id": file_id, "parsing": ABANDONED})
    return True


async def signs_of_life(database: Database) -> dict[Any, object]:
    """When each upload of the API that is under way has last shown one, by the server's clock."""
    under_way = database[FILES].find({"parsing": UPLOADING, **BEGUN_HERE}, {"updated_at": 1})
    return {document["_id"]: document.get("updated_at") async for document in under_way}


async def remove_abandoned(database: Database, *, older_than: timedelta, silent: Collection[Any] | None = None) -> int:
    """Remove uploads of the API that have shown no sign of life for so long, by the server's clock; returns how many.

    :param silent: of these only. That clock may have been set forward, and everything that is under way look old.

    Contents always have a record, which goes last, so nothing else has to be searched for. What stands in the bucket
    without one is somebody else's, and not touched.
    """
    limit = {"$subtract": ["$$NOW", int(older_than.total_seconds() * 1000)]}
    old: Document = {"$expr": {"$lt": ["$updated_at", limit]}}
    if silent is not None:
        old["_id"] = {"$in": list(silent)}
    # Judged and marked in one statement, so that an upload which shows life at this very moment is left alone.
    await database[FILES].update_many({"parsing": UPLOADING, **BEGUN_HERE, **old}, {"$set": {"parsing": ABANDONED}})
    removed = 0
    async for document in database[FILES].find({"parsing": ABANDONED, **BEGUN_HERE}, {"_id": 1}):
        removed += await abandon(database, document["_id"])
    return removed


LOST = "no byte came for so long that the upload was taken for abandoned and removed: upload again"


async def with_validator(database: Database, names: Sequence[str]) -> list[str]:
    """Which of these collections have a validator, by their names in MongoDB."""
    query = {"name": {"$in": [database[name].name for name in names]}, "options.validator": {"$exists": True}}
    return sorted([one["name"] async for one in await database[FILES].database.list_collections(filter=query)])


def _read(document: Document) -> File:
    """What is of another type than ours was written by another program, and counts as not known."""
    values: dict[str, Any] = {
        name: value if _is(value := document.get(name), type_) else None for name, type_ in _FIELDS.items()
    }
    version = document.get("version")
    return File(id=document["_id"], version=version if isinstance(version, int) and _is(version, int) else 0, **values)


def _is(value: Any, type_: type) -> bool:
    """A number is a count here: true, which Python takes for 1, and what is below 0 are none."""
    if type_ is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, type_)


_FIELDS = {
    "filename": str, "folder_id": str, "content_type": str, "size": int, "sha256": str, "parsing": str,
    "created_at": datetime, "updated_at": datetime,
}  # fmt: skip
_SHOWN: Document = dict.fromkeys((*_FIELDS, "version"), 1)

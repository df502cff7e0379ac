"""Adoption: an entry that others have added to a declared stream becomes a message, and so gets what messages get."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pymongo
import structlog
from bson import ObjectId
from bson.errors import BSONError
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from outbox.append import MAX_MESSAGE_BYTES
from outbox.database import OUTBOX, Database, Document
from outbox.delivery.entries import Entry
from outbox.errors import InvalidMessage
from outbox.message.document import RESERVED, new_document
from outbox.printable import printable
from outbox.streams.entry_ids import EntryId
from outbox.worker.completion import LOOK_SECONDS

log = structlog.get_logger(__name__)


async def adopt(database: Database, entry: Entry) -> bool:
    """Append a message with the entry's fields. Repeating it appends nothing. The log names entry and outcome.

    The relay then publishes it as any other; the entry itself is to be acknowledged and removed. False: its fields are
    none that a message can have; it is to be acknowledged, and stays in the stream, where whoever added it finds it.

    :raises PyMongoError: it may be adopted or not, and must stay as it is.
    """
    try:
        document = message_of(entry)
        try:
            await database[OUTBOX].insert_one(document)
        except DuplicateKeyError:
            if not await _is_there(database, document):
                raise
    except (InvalidMessage, BSONError) as error:
        log.warning(
            "foreign entry acknowledged: not a valid message", stream=entry.stream.name, entry=entry.id,
            error=printable(str(error)),
        )  # fmt: skip
        return False
    log.info("foreign entry adopted", entry=entry.id, message=str(document["_id"]))
    return True


async def _is_there(database: Database, document: Document) -> bool:
    """Whether it was adopted already, and the acknowledgement was lost.

    The server refuses a duplicate also of what no majority has yet, and what a failover may take back. The driver then
    reports the duplicate alone, also when the wait for the majority has failed.
    """
    messages = database[OUTBOX].with_options(read_concern=ReadConcern("linearizable"))
    with pymongo.timeout(LOOK_SECONDS):
        return await messages.find_one({"_id": document["_id"]}, {"_id": 1}) is not None


def message_of(entry: Entry) -> Document:
    """The message that an entry of others becomes. Its key is the field `file_id`, if there is one.

    It counts as appended when its producer added it, however long it has waited since: as a message of ours does, and
    so that its id and `created_at` have one time, by which it is found. Where the id of the entry is no time: now.

    :raises InvalidMessage: its fields are none that a message can have.
    """
    document = new_document(
        entry.stream,
        {name: value for name, value in entry.fields.items() if name not in RESERVED},
        key=entry.fields.get("file_id") or entry.id,
        headers=None,
        available_at=None,
        now=EntryId.parse(entry.id).time or datetime.now(UTC),
        max_bytes=MAX_MESSAGE_BYTES,
    )
    document["_id"] = _id(entry)
    return document


def _id(entry: Entry) -> ObjectId:
    """Always the same for one entry. It begins with its time, as the id of every message does; if the entry's id is
    no time, with an earlier one than all that are.
    """
    seconds = EntryId.parse(entry.id).milliseconds // 1000
    digest = hashlib.sha256(f"{entry.stream.name} {entry.id} {sorted(entry.fields.items())}".encode()).digest()
    return ObjectId((seconds if seconds < 2**32 else 0).to_bytes(4, "big") + digest[:8])

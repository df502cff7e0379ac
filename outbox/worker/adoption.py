"""Adoption: an entry that others have added to a declared stream becomes a message, and so gets what messages get."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from bson import ObjectId
from bson.errors import BSONError
from pymongo.errors import DuplicateKeyError

from outbox.append import MAX_MESSAGE_BYTES
from outbox.database import OUTBOX, Database, Document
from outbox.delivery.entries import Entry
from outbox.errors import InvalidMessage
from outbox.message.document import RESERVED, new_document
from outbox.printable import printable
from outbox.streams.entry_ids import EntryId

log = structlog.get_logger(__name__)


async def adopt(database: Database, entry: Entry) -> bool:
    """Append a message with the entry's fields. Repeating it appends nothing. The log names entry and outcome.

    The relay then publishes it as any other; the entry itself is to be acknowledged and removed. False: its fields are
    none that a message can have; it is to be acknowledged, and stays in the stream, where whoever added it finds it.
    """
    try:
        document = message_of(entry)
        with suppress(DuplicateKeyError):  # adopted already, and the acknowledgement was lost
            await database[OUTBOX].insert_one(document)
    except (InvalidMessage, BSONError) as error:
        log.warning(
            "foreign entry acknowledged: not a valid message", stream=entry.stream.name, entry=entry.id,
            error=printable(str(error)),
        )  # fmt: skip
        return False
    log.info("foreign entry adopted", entry=entry.id, message=str(document["_id"]))
    return True


def message_of(entry: Entry) -> Document:
    """The message that an entry of others becomes. Its key is the field `file_id`, if there is one.

    :raises InvalidMessage: its fields are none that a message can have.
    """
    document = new_document(
        entry.stream,
        {name: value for name, value in entry.fields.items() if name not in RESERVED},
        key=entry.fields.get("file_id") or entry.id,
        headers=None,
        available_at=None,
        now=datetime.now(UTC),
        max_bytes=MAX_MESSAGE_BYTES,
    )
    document["_id"] = _id(entry)
    return document


def _id(entry: Entry) -> ObjectId:
    """Always the same for one entry. It begins with a time, as the id of every message does."""
    seconds = EntryId.parse(entry.id).milliseconds // 1000
    digest = hashlib.sha256(f"{entry.stream.name} {entry.id} {sorted(entry.fields.items())}".encode()).digest()
    return ObjectId((seconds & 0xFFFFFFFF).to_bytes(4, "big") + digest[:8])

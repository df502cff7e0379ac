"""Adoption: an entry that others have added to a declared stream becomes a message, and so gets what messages get."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from outbox.append import MAX_MESSAGE_BYTES
from outbox.entries import Entry
from outbox.message import RESERVED, new_document
from outbox.schema import OUTBOX, Database


async def adopt(database: Database, entry: Entry) -> ObjectId:
    """Append a message with the entry's fields, and return its id. Repeating it appends nothing.

    The relay then publishes it as any other; the entry itself is to be acknowledged and removed. Its key is the field
    `file_id`, if there is one.

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
    with suppress(DuplicateKeyError):  # adopted already, and the acknowledgement was lost
        await database[OUTBOX].insert_one(document)
    return document["_id"]  # type: ignore[no-any-return]


def _id(entry: Entry) -> ObjectId:
    """Always the same for one entry. It begins with a time, as the id of every message does."""
    seconds = int(entry.id.partition("-")[0]) // 1000
    digest = hashlib.sha256(f"{entry.stream.name} {entry.id} {sorted(entry.fields.items())}".encode()).digest()
    return ObjectId((seconds & 0xFFFFFFFF).to_bytes(4, "big") + digest[:8])

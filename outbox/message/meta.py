"""What an outbox is known by: one document with its identity and the version of its schema, made by `outbox init`."""

from __future__ import annotations

from uuid import uuid4

from pymongo.errors import DuplicateKeyError

from outbox.errors import SchemaError
from outbox.servers.database import META, Database

VERSION = 2
"""The version of the schema that this release makes. The version before it had no meta document, and counts as 1."""

_ID = "outbox"


async def identity(database: Database) -> str:
    """The identity of the outbox in `database`: 32 hexadecimal digits, random, made once and never changed.

    :raises SchemaError: it has none: `outbox init` was never run here, or only by a version that did not make one.
    """
    found = await database[META].find_one({"_id": _ID})
    if found is None or not isinstance(found.get("identity"), str):
        raise SchemaError(f"database {database.name!r} has no outbox: {META} holds no identity. Run: outbox init")
    return str(found["identity"])


async def is_made(database: Database) -> bool:
    """Whether the outbox has an identity."""
    return await database[META].find_one({"_id": _ID}, {"_id": 1}) is not None


async def make(database: Database) -> list[str]:
    """Give the outbox its identity unless it has one; returns a line for each thing done.

    May be called by any number of processes at once: all find the same identity afterwards.
    """
    new = {"identity": uuid4().hex, "schema": VERSION}
    try:
        result = await database[META].update_one({"_id": _ID}, {"$setOnInsert": new}, upsert=True)
    except DuplicateKeyError:  # another process was faster
        return []
    return [] if result.upserted_id is None else [f"made the identity {new['identity']}"]

"""What an outbox is known by: its identity, the version of its schema, and the collections that are its own.

They are in one document, made by `outbox init`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from outbox.database import META, Database, Document
from outbox.errors import SchemaError

VERSION = 2
"""The version of the schema that this release makes. Programs of the version before and after work with it, too.
Version 1 had no meta document."""

ID = "outbox"
"""The `_id` of the meta document."""


async def identity(database: Database) -> str:
    """The identity of the outbox in `database`: 32 hexadecimal digits, random, made once and never changed.

    :raises SchemaError: it has none: `outbox init` was never run here, or only by a version that did not make one.
    """
    return identity_of(database, await database[META].find_one({"_id": ID}))


def identity_of(database: Database, found: Document | None) -> str:
    """The identity in this meta document of `database`. Raises SchemaError when there is none."""
    if found is None or not isinstance(found.get("identity"), str):
        raise SchemaError(f"database {database.name!r} has no outbox: {META} holds no identity. Run: outbox init")
    return str(found["identity"])


@dataclass(frozen=True, slots=True)
class Known:
    """What the meta document says. Without one: no identity, and nothing is ours."""

    identity: str | None = None
    schema: int = VERSION
    collections: frozenset[str] = frozenset()


async def known(database: Database) -> Known:
    """What is known of the outbox, as new as what a listing of the collections shows."""
    meta = database[META].with_options(read_concern=ReadConcern("local"))
    found = await meta.find_one({"_id": ID}) or {}
    identity, schema, claimed = (found.get(name) for name in ("identity", "schema", "collections"))
    return Known(
        identity if isinstance(identity, str) else None,
        schema if isinstance(schema, int) else VERSION,
        frozenset(map(str, claimed)) if isinstance(claimed, list) else frozenset(),
    )


def refuse_far(database: Database, schema: int) -> None:
    """Raise SchemaError when a database was set up by a version that is more than one from this one."""
    if schema > VERSION + 1:
        raise SchemaError(
            f"database {database.name!r} has version {schema} of the schema, and this program knows {VERSION}: they do "
            "not work side by side. Nothing was changed. Install the version that the database was set up with"
        )
    if schema < VERSION - 1:
        raise SchemaError(
            f"database {database.name!r} has version {schema} of the schema, and this program makes {VERSION}: install "
            f"the release with version {schema + 1} first, run its outbox init, and start its programs"
        )


Step = tuple[str, Callable[[], Awaitable[object]]]
"""What it does, in a line, if that is worth one; and what does it."""


def steps(database: Database, there: Known, claims: Collection[str]) -> list[Step]:
    """What gives the outbox its identity and makes these collections its own; nothing when it has both.

    May be carried out by any number of processes at once: all find the same identity afterwards.
    """
    if there.identity and there.schema == VERSION and there.collections >= set(claims):
        return []
    return [("" if there.identity else "made the identity of the outbox", partial(_make, database, claims))]


async def _make(database: Database, claims: Collection[str]) -> None:
    change = {
        "$setOnInsert": {"identity": uuid4().hex},
        "$max": {"schema": VERSION},
        "$addToSet": {"collections": {"$each": sorted(claims)}},
    }
    with suppress(DuplicateKeyError):  # another process was faster
        await database[META].update_one({"_id": ID}, change, upsert=True)
        return
    await database[META].update_one({"_id": ID}, change)

"""The schema: collections, validator and indexes. Set up by `outbox init`, checked at every start.

Nothing is created lazily: a collection created inside a transaction takes an exclusive lock, and an index that is
missing makes the relay scan the whole outbox.
"""

from __future__ import annotations

from collections.abc import Iterable

from pymongo import ASCENDING

from outbox.database import (
    AUDIT,
    CONTENTS,
    FILES,
    HISTORY,
    IDEMPOTENCY,
    JOBS,
    LOGOUTS,
    META,
    OUTAGES,
    OUTBOX,
    PARTITIONS,
    RECOVERIES,
    REFUSALS,
    RELAYS,
    STREAMS,
    UNIQUE,
    WORKERS,
    Database,
    Document,
)
from outbox.errors import SchemaError
from outbox.message import installation, meta
from outbox.message.collection import Collection, Part, index
from outbox.message.document import State
from outbox.streams import registry
from outbox.streams.declaration import Streams

__all__ = [
    "AUDIT", "COLLECTIONS", "CONTENTS", "CORE", "FILES", "HISTORY", "IDEMPOTENCY", "JOBS", "LOGOUTS", "META", "OUTAGES",
    "OUTBOX", "PARTITIONS", "RECOVERIES", "REFUSALS", "RELAYS", "STREAMS", "UNIQUE", "VALIDATOR", "WORKERS",
    "Collection", "Database", "Document", "check", "ensure",
]  # fmt: skip

# As the version before has it: its API goes on until it is replaced, and counts as not ready while it finds another. So
# what is new in a message is checked as it is read, and not here.
VALIDATOR: Document = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": [
            "_id", "schema", "stream", "partition", "key", "position", "fields", "headers",
            "state", "attempts", "created_at",
        ],
        "properties": {
            "_id": {"bsonType": "objectId"},
            "schema": {"bsonType": "int"},
            "stream": {"bsonType": "string", "minLength": 1},
            "partition": {"bsonType": "int", "minimum": 0},
            "key": {"bsonType": "string", "minLength": 1},
            "position": {"bsonType": "timestamp"},
            "fields": {
                "bsonType": "object", "minProperties": 1, "additionalProperties": {"bsonType": "string"},
            },
            "headers": {"bsonType": "object", "additionalProperties": {"bsonType": "string"}},
            "state": {"enum": [state.value for state in State]},
            "attempts": {"bsonType": "int", "minimum": 0},
            "last_error": {"bsonType": ["string", "null"]},
            "created_at": {"bsonType": "date"},
            "available_at": {"bsonType": ["date", "null"]},
            "published_at": {"bsonType": "date"},
            "completed_at": {"bsonType": "date"},
            "batch": {"bsonType": ["int", "long"]},
            "tag": {"bsonType": "string"},
            "fence": {"bsonType": ["int", "long"], "minimum": 0},
        },
    }
}  # fmt: skip


def _in_state(state: State) -> Document:
    return {"partialFilterExpression": {"state": state.value}}


COLLECTIONS = (
    Collection(
        OUTBOX,
        (
            # Each holds only the messages in its state, so that none grows with the retained history but the one that
            # recovery needs, and marking a batch moves its entries from the first to the second. The state, although
            # the same in all of an index, is its first key: then the planner finds the index by itself, and counting
            # reads the index alone (400,000 messages in 0.07 s; through the documents it takes 0.52 s).
            index(
                "pending", ("state", 1), ("stream", 1), ("partition", 1), ("position", 1), **_in_state(State.PENDING)
            ),
            index(
                "published", ("state", 1), ("stream", 1), ("partition", 1), ("batch", 1), **_in_state(State.PUBLISHED)
            ),
            index("scheduled", ("state", 1), ("available_at", 1), **_in_state(State.SCHEDULED)),
            index("dead", ("state", 1), ("stream", 1), ("_id", 1), **_in_state(State.DEAD)),
            index("key", ("key", ASCENDING), ("position", ASCENDING)),
            # Of messages that name their subject by its id. Where others are read, the condition stands in the query.
            index(
                "subject", ("subject.id", 1), ("position", 1), partialFilterExpression={"subject": {"$exists": True}}
            ),
        ),
        VALIDATOR,
    ),
    Collection(META, since=2),
    Collection(STREAMS, since=2),
    Collection(PARTITIONS, (index("owner", ("owner", ASCENDING)),)),
    # A relay that died without a word is forgotten a minute after its time ran out.
    Collection(RELAYS, (index("expiry", ("expires_at", ASCENDING), expireAfterSeconds=60),)),
    # For `uniques.prune`, which goes by it; values are kept as long as their messages wait.
    Collection(UNIQUE, (index("appended", ("at", ASCENDING)),), since=2),
    # One that fell silent is shown for an hour, with what it held.
    Collection(WORKERS, (index("expiry", ("seen_at", ASCENDING), expireAfterSeconds=3600),), since=2),
    Collection(OUTAGES, (index("until", ("until", ASCENDING), expireAfterSeconds=90 * 24 * 3600),)),
    # A day of minutes, by the server's clock.
    Collection(HISTORY, (index("expiry", ("at", ASCENDING), expireAfterSeconds=24 * 3600),), since=2),
    Collection(RECOVERIES, (index("at", ("at", ASCENDING), expireAfterSeconds=90 * 24 * 3600),)),
    Collection(
        JOBS,
        (
            index("open", ("open", ASCENDING), partialFilterExpression={"open": True}),
            # What makes a request that is sent twice one job.
            index(
                "request", ("request", ASCENDING), unique=True, partialFilterExpression={"request": {"$exists": True}}
            ),
            index("expiry", ("finished_at", ASCENDING), expireAfterSeconds=90 * 24 * 3600),
        ),
    ),
    Collection(AUDIT, (index("expiry", ("at", ASCENDING), expireAfterSeconds=400 * 24 * 3600),)),
)
CORE = Part("outbox", COLLECTIONS, "choose another OUTBOX_PREFIX, or another OUTBOX_DATABASE, for the outbox")
"""What every outbox has."""


async def ensure(
    database: Database, streams: Streams, *parts: Part, adopt: Iterable[str] = (), dry_run: bool = False
) -> list[str]:
    """Create what is missing of the outbox and of `parts`, and nothing else; returns a line for each thing done.

    May be called any number of times, by any number of processes at once. Nothing that it did not make is changed: no
    document, no index, no validator.

    :param adopt: collections of `parts` that somebody else made, and that are taken over, with more indexes.
    :param dry_run: change nothing; the lines say what would have been done.
    :raises NotOurs: a collection, index or validator under one of our names is somebody else's. Nothing was changed.
    :raises SchemaError: the database was set up by a version that is too far from this one. Nothing was changed.
    """
    while True:
        steps = await installation.plan(database, (CORE, *parts), adopt=set(adopt))
        await registry.refuse(database, streams)
        lines = [line for line, _ in steps if line]
        if not dry_run and not await installation.carry_out(steps):
            continue  # another process makes it too: look again
        return lines + await registry.register(database, streams, dry_run=dry_run)


async def is_set_up(database: Database, part: Part) -> bool:
    """Whether the outbox was set up with `part`, by this version or an earlier one."""
    return await installation.has(database, CORE, part)


async def check(database: Database, streams: Streams, *parts: Part) -> None:
    """Raise SchemaError, with all that is missing or different of the outbox and of `parts`."""
    there, known = await installation.look(database, (CORE, *parts))
    meta.refuse_far(database, known.schema)
    command = " ".join(("outbox init", *(f"--{part.name}" for part in parts)))
    if known.identity is None and all(found.options is None for found in there):
        raise SchemaError(
            f"database {database.name!r} is not set up: none of the collections of an outbox is there. Run: {command}; "
            "or correct MONGODB_DATABASE or OUTBOX_DATABASE, if it is in another database"
        )
    faults = installation.faults(there, known)
    partitions = {str(document["_id"]) async for document in database[PARTITIONS].find({}, {"_id": 1})}
    faults += [f"partition {p} is missing" for p in map(str, streams.partitions()) if p not in partitions]
    if faults:
        raise SchemaError(f"database {database.name!r} is not set up: {'; '.join(faults)}. Run: {command}")

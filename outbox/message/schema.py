"""The schema: collections, validator and indexes. Set up by `outbox init`, checked at every start.

Nothing is created lazily: a collection created inside a transaction takes an exclusive lock, and an index that is
missing makes the relay scan the whole outbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure

from outbox.errors import SchemaError
from outbox.message import meta
from outbox.message.document import State
from outbox.servers.database import (
    AUDIT,
    CONTENTS,
    FILES,
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
    Database,
    Document,
)
from outbox.streams import registry
from outbox.streams.declaration import Streams

__all__ = [
    "AUDIT", "COLLECTIONS", "CONTENTS", "FILES", "IDEMPOTENCY", "JOBS", "LOGOUTS", "META", "OUTAGES", "OUTBOX",
    "PARTITIONS", "RECOVERIES", "REFUSALS", "RELAYS", "STREAMS", "VALIDATOR", "Collection", "Database", "Document",
    "check", "ensure",
]  # fmt: skip

_NAMESPACE_EXISTS = 48
_INDEX_RACES = (27, 276)
"""IndexNotFound and IndexBuildAborted: another process dropped it first, or while it was being built."""

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


@dataclass(frozen=True, slots=True)
class Collection:
    name: str
    indexes: tuple[IndexModel, ...] = ()
    validator: Document | None = None


def _index(name: str, *keys: tuple[str, int], **options: Any) -> IndexModel:
    return IndexModel(list(keys), name=name, **options)


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
            _index(
                "pending", ("state", 1), ("stream", 1), ("partition", 1), ("position", 1), **_in_state(State.PENDING)
            ),
            _index(
                "published", ("state", 1), ("stream", 1), ("partition", 1), ("batch", 1), **_in_state(State.PUBLISHED)
            ),
            _index("scheduled", ("state", 1), ("available_at", 1), **_in_state(State.SCHEDULED)),
            _index("dead", ("state", 1), ("stream", 1), ("_id", 1), **_in_state(State.DEAD)),
            _index("key", ("key", ASCENDING), ("position", ASCENDING)),
            # Of messages that name their subject by its id. Where others are read, the condition stands in the query.
            _index(
                "subject", ("subject.id", 1), ("position", 1), partialFilterExpression={"subject": {"$exists": True}}
            ),
        ),
        VALIDATOR,
    ),
    Collection(META),
    Collection(STREAMS),
    Collection(PARTITIONS, (_index("owner", ("owner", ASCENDING)),)),
    # A relay that died without a word is forgotten a minute after its time ran out.
    Collection(RELAYS, (_index("expiry", ("expires_at", ASCENDING), expireAfterSeconds=60),)),
    Collection(OUTAGES, (_index("until", ("until", ASCENDING), expireAfterSeconds=90 * 24 * 3600),)),
    Collection(RECOVERIES, (_index("at", ("at", ASCENDING), expireAfterSeconds=90 * 24 * 3600),)),
    Collection(
        JOBS,
        (
            _index("open", ("open", ASCENDING), partialFilterExpression={"open": True}),
            # What makes a request that is sent twice one job.
            _index(
                "request", ("request", ASCENDING), unique=True, partialFilterExpression={"request": {"$exists": True}}
            ),
            _index("expiry", ("finished_at", ASCENDING), expireAfterSeconds=90 * 24 * 3600),
        ),
    ),
    Collection(AUDIT, (_index("expiry", ("at", ASCENDING), expireAfterSeconds=400 * 24 * 3600),)),
    Collection(LOGOUTS, (_index("expiry", ("until", ASCENDING), expireAfterSeconds=0),)),
    Collection(REFUSALS, (_index("expiry", ("until", ASCENDING), expireAfterSeconds=0),)),
    Collection(
        FILES,
        (
            _index("folder", ("folder_id", ASCENDING), ("_id", DESCENDING)),
            _index("parsing", ("parsing", ASCENDING), ("_id", DESCENDING)),
            _index("filename", ("filename", ASCENDING), ("_id", DESCENDING)),
        ),
    ),
    Collection(IDEMPOTENCY, (_index("expiry", ("created_at", ASCENDING), expireAfterSeconds=24 * 3600),)),
    # What GridFS would create by itself at the first upload.
    Collection(f"{CONTENTS}.files", (_index("filename_1_uploadDate_1", ("filename", 1), ("uploadDate", 1)),)),
    Collection(f"{CONTENTS}.chunks", (_index("files_id_1_n_1", ("files_id", 1), ("n", 1), unique=True),)),
)


async def ensure(database: Database, streams: Streams) -> list[str]:
    """Create or correct what is missing or different; returns a line for each thing done, none when all was right.

    May be called any number of times, by any number of processes at once. Never drops a collection or a message;
    an index that differs is dropped and built again.
    """
    await registry.refuse(database, streams)
    done: list[str] = []
    present = await _present(database)
    for collection in COLLECTIONS:
        if collection.name not in present:
            try:
                there = database[collection.name]
                await there.database.create_collection(there.name, check_exists=False)
                done.append(f"created collection {collection.name}")
            except OperationFailure as error:
                if error.code != _NAMESPACE_EXISTS:  # another process was faster
                    raise
        if collection.validator and present.get(collection.name) != collection.validator:
            # "moderate": a message written around the library can still be made dead.
            await database.command(
                "collMod", database[collection.name].name, validator=collection.validator, validationLevel="moderate"
            )
            done.append(f"set the validator of {collection.name}")
        done += await _ensure_indexes(database, collection)
    done += await meta.make(database)
    done += await registry.register(database, streams)
    return done


async def check(database: Database, streams: Streams) -> None:
    """Raise SchemaError, with all that is missing or different, unless `ensure` would find nothing to do."""
    present = await _present(database)
    faults = [f"collection {c.name} is missing" for c in COLLECTIONS if c.name not in present]
    for collection in COLLECTIONS:
        if collection.name not in present:
            continue
        if collection.validator and present[collection.name] != collection.validator:
            faults.append(f"the validator of {collection.name} differs")
        missing, different = await _index_faults(database, collection)
        faults += [f"index {collection.name}.{name} is missing" for name in missing]
        faults += [f"index {collection.name}.{name} differs" for name in different]
    if META in present and not await meta.is_made(database):
        faults.append("the outbox has no identity")
    known = {str(document["_id"]) async for document in database[PARTITIONS].find({}, {"_id": 1})}
    faults += [f"partition {p} is missing" for p in map(str, streams.partitions()) if p not in known]
    if faults:
        raise SchemaError(f"database {database.name!r} is not set up: {'; '.join(faults)}. Run: outbox init")


async def _present(database: Database) -> dict[str, Document | None]:
    """The validator, or None, of each of our collections that is there, by our name for it."""
    found: dict[str, Document | None] = {}
    for where in (database, database.application):
        there = {each["name"]: each.get("options", {}) async for each in await where.list_collections()}
        ours = [c for c in COLLECTIONS if database[c.name].database.name == where.name]
        found |= {c.name: there[name].get("validator") for c in ours if (name := database[c.name].name) in there}
    return found


async def _index_faults(database: Database, collection: Collection) -> tuple[list[str], list[str]]:
    found = await database[collection.name].index_information()
    missing, different = [], []
    for index in collection.indexes:
        wanted = index.document
        if wanted["name"] not in found:
            missing.append(wanted["name"])
            continue
        there = found[wanted["name"]]
        options = ("partialFilterExpression", "expireAfterSeconds", "unique")
        if [tuple(k) for k in there["key"]] != list(wanted["key"].items()) or any(
            there.get(option) != wanted.get(option) for option in options
        ):
            different.append(wanted["name"])
    return missing, different


async def _ensure_indexes(database: Database, collection: Collection) -> list[str]:
    missing, different = await _index_faults(database, collection)
    wanted = [index for index in collection.indexes if index.document["name"] in {*missing, *different}]
    try:
        for name in different:
            await database[collection.name].drop_index(name)
        if wanted:
            await database[collection.name].create_indexes(wanted)
    except OperationFailure as error:
        if error.code not in _INDEX_RACES:
            raise
        return await _ensure_indexes(database, collection)  # another process corrects it too: look again
    return [f"built index {collection.name}.{index.document['name']}" for index in wanted]

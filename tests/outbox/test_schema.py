from __future__ import annotations

import asyncio

import pytest
from bson import DatetimeMS, ObjectId, Timestamp
from pymongo import AsyncMongoClient
from pymongo.errors import WriteError

from outbox import SchemaError, Stream, Streams
from outbox.database import OUTBOX, PARTITIONS, RELAYS, Database, Document
from outbox.message import schema
from outbox.message.document import State
from outbox.message.schema import COLLECTIONS, VALIDATOR
from tests.outbox.shelf import Shelf, a_document


async def test_a_second_time_there_is_nothing_to_do(
    mongo: AsyncMongoClient[Document], database: str, streams: Streams
) -> None:
    assert len(await schema.ensure(Database(mongo, database), streams)) > 10
    assert await schema.ensure(Database(mongo, database), streams) == []
    await schema.check(Database(mongo, database), streams)


async def test_several_at_once_do_not_disturb_each_other(
    mongo: AsyncMongoClient[Document], database: str, streams: Streams
) -> None:
    await asyncio.gather(*(schema.ensure(Database(mongo, database), streams) for _ in range(4)))
    await schema.check(Database(mongo, database), streams)
    assert await schema.ensure(Database(mongo, database), streams) == []


async def test_several_at_once_build_an_index(db: Database, streams: Streams) -> None:
    await db[OUTBOX].drop_index("pending")
    await asyncio.gather(*(schema.ensure(db, streams) for _ in range(4)))
    await schema.check(db, streams)


async def test_a_database_that_was_never_set_up_is_refused(
    mongo: AsyncMongoClient[Document], database: str, streams: Streams
) -> None:
    with pytest.raises(SchemaError, match=r"none of the collections of an outbox is there\. Run: outbox init"):
        await schema.check(Database(mongo, database), streams)


async def test_each_missing_index_is_told_and_built(db: Database, streams: Streams) -> None:
    for collection, index in [(c.name, index.document["name"]) for c in COLLECTIONS for index in c.indexes]:
        await db[collection].drop_index(index)
        with pytest.raises(SchemaError, match=rf"index {collection}\.{index} is missing"):
            await schema.check(db, streams)
        assert await schema.ensure(db, streams) == [f"built index {collection}.{index}"]
    await schema.check(db, streams)


async def test_a_missing_collection_is_told_and_made(db: Database, streams: Streams) -> None:
    await db.drop_collection(RELAYS)
    with pytest.raises(SchemaError, match="collection outbox_relays is missing"):
        await schema.check(db, streams)
    assert await schema.ensure(db, streams) == ["created collection outbox_relays", "built index outbox_relays.expiry"]


async def test_a_missing_validator_is_told_and_set(db: Database, streams: Streams) -> None:
    await db.command("collMod", OUTBOX, validator={})
    with pytest.raises(SchemaError, match="validator of outbox differs"):
        await schema.check(db, streams)
    assert await schema.ensure(db, streams) == ["set the validator of outbox"]


async def test_a_stream_that_is_newly_declared_needs_its_partitions(db: Database, streams: Streams) -> None:
    more = Streams([*streams.values(), Stream("exports", "g", partitions=2)])
    with pytest.raises(SchemaError, match="partition exports/1 is missing"):
        await schema.check(db, more)
    assert await schema.ensure(db, more) == [
        "registered stream exports", "created partition exports/0", "created partition exports/1"
    ]  # fmt: skip


async def test_setting_up_again_leaves_leases_and_messages_alone(db: Database, streams: Streams, shelf: Shelf) -> None:
    [message] = await shelf.put(State.PENDING)
    await db[PARTITIONS].update_one({"_id": "file_parsing_queue/0"}, {"$set": {"owner": "me", "token": 7, "batch": 9}})
    await db[OUTBOX].drop_indexes()
    await schema.ensure(db, streams)
    lease = await db[PARTITIONS].find_one({"_id": "file_parsing_queue/0"})
    assert lease
    assert (lease["owner"], lease["token"], lease["batch"]) == ("me", 7, 9)
    assert await shelf.states(message) == ["pending"]


MALFORMED: dict[str, Document] = {
    "id": {"_id": "text"},
    "schema": {"schema": "1"},
    "stream": {"stream": ""},
    "partition": {"partition": -1},
    "key": {"key": 5},
    "empty key": {"key": ""},
    "position": {"position": DatetimeMS(0)},
    "fields": {"fields": {}},
    "a value of the fields": {"fields": {"n": 1}},
    "headers": {"headers": {"h": 1}},
    "state": {"state": "sent"},
    "attempts": {"attempts": -1},
    "created_at": {"created_at": "today"},
    "available_at": {"available_at": "tomorrow"},
}


async def test_a_malformed_message_cannot_be_inserted(shelf: Shelf) -> None:
    required = VALIDATOR["$jsonSchema"]["required"]
    without = {f"no {name}": {k: v for k, v in a_document().items() if k != name} for name in required if name != "_id"}
    malformed = without | {name: a_document() | values for name, values in MALFORMED.items()}
    for name, document in malformed.items():
        with pytest.raises(WriteError, match="failed validation"):
            await _accept(shelf, name, document)


async def _accept(shelf: Shelf, name: str, document: Document) -> None:
    await shelf.messages.insert_one(document)
    pytest.fail(f"a message with a malformed {name} was accepted")


async def test_a_message_in_every_state_is_valid(shelf: Shelf) -> None:
    await shelf.messages.insert_many([a_document(state) for state in State])


async def test_a_message_that_was_written_before_the_validator_can_still_be_buried(shelf: Shelf) -> None:
    bad = a_document(key="x") | {"fields": {"n": 1}, "_id": ObjectId(), "position": Timestamp(1, 1)}
    await shelf.messages.insert_one(bad, bypass_document_validation=True)
    await shelf.messages.update_one({"_id": bad["_id"]}, {"$set": {"state": "dead", "last_error": "n is a number"}})
    assert await shelf.states(bad["_id"]) == ["dead"]

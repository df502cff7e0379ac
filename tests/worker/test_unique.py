"""A message that stands for a later append of the same: its handler sees what that append's transaction wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from redis.asyncio import Redis

from outbox import Stream
from outbox.database import OUTBOX, Document
from outbox.settings import OutboxSettings, load
from tests.relay.world import STREAM, World, a_world
from tests.waiting import eventually
from tests.worker.workshop import Workshop

BARE = Stream(STREAM.name, STREAM.group, partitions=1)


@pytest.fixture
async def bare(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, redis: Redis, redis_url: str
) -> AsyncIterator[Workshop]:
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)
    async with a_world(mongo, database, redis, [BARE]) as world:
        await world.database.records.insert_one({"_id": "r", "value": 0})
        yield Workshop(world, await world.owner(seconds=60), settings)


async def write(world: World, value: int) -> ObjectId:
    """A transaction of the application: the record changes, and has to be indexed."""

    async def body(session: AsyncClientSession) -> ObjectId:
        await world.database.records.update_one({"_id": "r"}, {"$set": {"value": value}}, session=session)
        return await world.outbox.append(session, STREAM.name, {"record": "r"}, key="r", unique="index r")

    async with world.client.start_session() as session:
        return await session.with_transaction(body)


def write_sync(session: ClientSession, world: World, value: int) -> ObjectId:
    def body(session: ClientSession) -> ObjectId:
        records = session.client[world.database.name].records
        records.update_one({"_id": "r"}, {"$set": {"value": value}}, session=session)
        return world.outbox.append(session, STREAM.name, {"record": "r"}, key="r", unique="index r")

    return session.with_transaction(body)


async def indexed(bare: Workshop, handler: Callable[..., Any], id_: ObjectId) -> Any:
    async with bare.working(handler):
        await eventually(lambda: bare.in_state("completed", id_), 20)
    found = await bare.world.database.indexed.find_one({"_id": "r"})
    return found and found["value"]


async def test_an_append_while_its_handler_is_at_work_has_the_handler_called_again(bare: Workshop) -> None:
    world, seen = bare.world, list[int]()

    async def index(message: Any, session: AsyncClientSession) -> None:
        database = session.client[world.database.name]
        record = await database.records.find_one({"_id": "r"}, session=session)
        assert record
        seen.append(record["value"])
        if len(seen) == 1:
            assert await write(world, 2) == message.id, "no second message"
        value = {"$set": {"value": record["value"]}}
        await database.indexed.update_one({"_id": "r"}, value, upsert=True, session=session)

    id_ = await write(world, 1)
    await bare.owner.drain_all()
    assert await indexed(bare, index, id_) == 2
    assert seen == [1, 2]
    assert await world.database[OUTBOX].count_documents({}) == 1


async def test_a_plain_handler_is_called_again_too(bare: Workshop) -> None:
    world, seen = bare.world, list[int]()

    def index(message: Any, session: ClientSession) -> None:
        database = session.client[world.database.name]
        record = database.records.find_one({"_id": "r"}, session=session)
        assert record
        seen.append(record["value"])
        if len(seen) == 1:
            with session.client.start_session() as other:
                assert write_sync(other, world, 2) == message.id
        database.indexed.update_one({"_id": "r"}, {"$set": {"value": record["value"]}}, upsert=True, session=session)

    id_ = await write(world, 1)
    await bare.owner.drain_all()
    assert await indexed(bare, index, id_) == 2
    assert seen == [1, 2]


async def test_an_append_after_the_completion_is_a_new_message(bare: Workshop) -> None:
    async def index(message: Any, session: AsyncClientSession) -> None:
        await session.client[bare.world.database.name].indexed.insert_one({"of": message.id}, session=session)

    first = await write(bare.world, 1)
    await bare.owner.drain_all()
    await indexed(bare, index, first)
    assert await write(bare.world, 2) != first

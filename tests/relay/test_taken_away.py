"""Priorities and groups that a stream has no longer leave nothing behind, and relays that drained them go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox import Outbox, Stream, Streams
from outbox.database import OUTBOX, PARTITIONS, Document
from outbox.message.document import State
from outbox.operations import diagnosis, registration, samples
from outbox.settings import OutboxSettings, load
from outbox.streams import registry
from outbox.streams.declaration import Priority
from tests.faults.relays import in_this_process
from tests.outbox.test_diagnosis import STREAMS, a_sample, counts
from tests.relay.world import World, a_world
from tests.waiting import eventually

FEWER = Stream("orders", "shop", partitions=3)
ORDERS = replace(FEWER, priorities=(Priority.HIGH,), groups=("mail",))
MEMBERS = {"orders", "orders:high", "orders:mail", "orders:mail:high"}


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis, [ORDERS]) as made:
        yield made


async def leases(world: World) -> set[str]:
    return {one["stream"] async for one in world.database[PARTITIONS].find()}


def test_a_partition_of_no_stream_that_is_registered_lacks_no_owner() -> None:
    free = {"stream": "orders:high", "number": 3, "owner": None, "expires_in_seconds": None, "token": 1, "batch": 0}
    sample = a_sample(partitions=(free,), messages=counts(pending=1))
    assert diagnosis.diagnose(sample, STREAMS)[0].seen.startswith("All is well")


async def test_their_leases_go_with_them_and_nothing_is_said_of_them(world: World) -> None:
    assert await leases(world) == MEMBERS == {member.name for member in ORDERS.members()}
    assert await registration.change_as_declared(world.database, FEWER)
    assert await leases(world) == {"orders"}
    registered = await registry.read(world.database)
    assert registered
    sample = await samples.take(world.database, world.redis, registered, since=None)
    assert {one["stream"] for one in sample.status.partitions} == {"orders"}


async def test_a_relay_that_drained_them_has_lost_nothing_and_drains_them_when_they_are_back(
    world: World, mongodb_uri: str, redis_url: str
) -> None:
    """From where Redis says they stood, as their leases begin anew."""
    place = {"mongodb_uri": mongodb_uri, "mongodb_database": world.database.name, "redis_url": redis_url}

    async def published() -> bool:
        return not await world.database[OUTBOX].count_documents({"state": State.PENDING.value})

    async def append(declared: Stream, priority: Priority) -> None:
        outbox = Outbox(Streams([declared]), database=world.database.name)
        async with world.client.start_session() as session, await session.start_transaction():
            await outbox.append(session, "orders", {"a": "b"}, key="k", priority=priority)
        await eventually(published, 20)

    with capture_logs() as logs:
        async with in_this_process(load(OutboxSettings, **place)) as relay:

            def holds(streams: int) -> bool:
                return bool(relay._leaser and relay._leaser.held == streams * 3)

            await eventually(lambda: holds(4), 20)
            for _ in range(2):
                await append(ORDERS, Priority.HIGH)
            await world.database[OUTBOX].update_many({}, {"$set": {"state": "completed"}})
            assert await registration.change_as_declared(world.database, FEWER)
            await eventually(lambda: holds(1), 20)
            await append(FEWER, Priority.NORMAL)
            await world.database[OUTBOX].update_many({}, {"$set": {"state": "completed"}})
            assert await registration.change_as_declared(world.database, ORDERS)
            await eventually(lambda: holds(4), 20)
            await append(ORDERS, Priority.HIGH)
    assert not [lost for log in logs if log["event"] == "partitions reassigned" and (lost := log["lost"])]
    assert not [log for log in logs if log["log_level"] == "error"]
    assert await world.redis.xlen("orders:high") == 3

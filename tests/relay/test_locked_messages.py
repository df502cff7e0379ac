"""A message that somebody's open transaction has locked holds up nobody else (G8)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox.database import OUTBOX, Document
from outbox.operations import upkeep
from outbox.protocol import fences
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream
from tests.faults.relays import in_this_process
from tests.relay.world import World, a_world
from tests.waiting import eventually

LOCKED, OTHERS = Stream("locked", "workers", partitions=1), Stream("others", "workers", partitions=4)


@asynccontextmanager
async def locked(world: World, message: Any) -> AsyncIterator[None]:
    """As by a worker that has completed it, and is suspended before its commit."""
    async with world.client.start_session() as session:
        await session.start_transaction()
        change = {"$set": {"state": "completed", "attempts": 1}}
        await world.database[OUTBOX].update_one({"_id": message}, change, session=session)
        yield
        await session.commit_transaction()


async def append(world: World, stream: str, key: str) -> ObjectId:
    [message] = await world.append(key, stream=stream)
    return message


async def test_other_streams_go_on_and_mongodb_is_not_blamed(
    mongo: AsyncMongoClient[Document],
    database: str,
    redis: Redis,
    mongodb_uri: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fences, "WRITE_SECONDS", 9.0)
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)
    async with a_world(mongo, database, redis, [LOCKED, OTHERS]) as world:
        took: list[float] = []

        async def flow(number: int, seconds: float) -> None:
            end = time.monotonic() + seconds
            for key in map("{}-{}".format, [number] * 10_000, range(10_000)):
                began = time.monotonic()
                await append(world, OTHERS.name, key)
                await eventually(partial(waits_in_redis, key), 30)
                took.append(time.monotonic() - began)
                if time.monotonic() > end:
                    return

        async def waits_in_redis(key: str) -> bool:
            latest: Any = await redis.xrevrange(OTHERS.name, count=50)
            return any(entry["file_id"] == key for _, entry in latest)

        with capture_logs() as logs:
            async with in_this_process(settings, relay_lease_seconds=10):
                await flow(9, 0)
                message = await append(world, LOCKED.name, "k")
                await eventually(lambda: redis.xlen(LOCKED.name), 20)
                async with locked(world, message):
                    await asyncio.gather(*(flow(number, 12) for number in range(4)))

                async def done() -> bool:
                    return "pending" not in (await world.states()).values()

                await eventually(done, 20)
        assert max(took) < 3.5, sorted(took)[-5:]
        assert await redis.xlen(OTHERS.name) == len(took)
        assert await redis.xlen(LOCKED.name) == 1
        assert not [line for line in logs if "unavailable" in line["event"]]
        assert [line for line in logs if "a transaction that is open" in line.get("reason", "")]


async def test_other_scheduled_messages_become_pending(world: World) -> None:
    ids = await world.append("f1", "f2", "f3")
    change: Document = {"$set": {"state": "scheduled"}}
    for number, id_ in enumerate(ids):
        change["$set"]["available_at"] = datetime(2001, 1, 1 + number, tzinfo=UTC)
        await world.database[OUTBOX].update_one({"_id": id_}, change)
    async with locked(world, ids[0]):
        async with asyncio.timeout(8):
            await upkeep.stage(world.database)
        assert list((await world.states()).values()) == ["scheduled", "pending", "pending"]
    assert list((await world.states()).values()) == ["completed", "pending", "pending"]

"""Verify on a system at work: with no grace, what is under way is told from what is broken by order alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.operations.verify import System, verify
from outbox.servers.clock import server_time
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer, Message
from tests.relay.processes import a_relay
from tests.relay.test_daemon import FOUR
from tests.relay.world import STREAM, World, a_world

SECONDS = 6.0


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis, [FOUR]) as made:
        yield made


async def uploads(world: World, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await world.append(str(ObjectId()))


async def a_plain_worker(world: World, name: str, stop: asyncio.Event) -> None:
    """As ours were before: sets `parsing`, then acknowledges."""
    while not stop.is_set():
        found: Any = []
        with contextlib.suppress(Exception):  # the group is not there yet
            found = await world.redis.xreadgroup(STREAM.group, name, {STREAM.name: ">"}, count=10, block=100)
        for _, entries in found or []:
            for entry, fields in entries:
                await world.settle(fields["file_id"])
                await world.redis.xack(STREAM.name, STREAM.group, entry)
        await asyncio.sleep(0)


async def enough(world: World) -> bool:
    completed = await world.database.outbox.count_documents({"state": "completed"})
    return completed > 10 and await world.database.files.count_documents({"parsing": "parsed"}) > 20


async def look_while_it_works(world: World) -> int:
    """For so long, and until enough has been worked on, by ours and by the plain one: how soon is up to the machine."""
    looks = 0
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends or looks < 2 or not await enough(world):
        system = System(
            world.database, world.redis, world.streams, await server_time(world.database), timedelta(days=7),
            grace=timedelta(seconds=-5), pause=lambda: asyncio.sleep(0.05),
        )  # fmt: skip
        found = [finding.as_json() for finding in await verify(system) if finding.check != "oplog"]
        assert found == []
        looks += 1
    return looks


async def test_a_busy_system_raises_no_alarm(
    world: World, mongodb_uri: str, database: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url}
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)

    async def handle(message: Message, session: Any) -> None:
        parsed = {"$set": {"parsing": "parsed"}}
        await session.client[database].files.update_one({"_id": ObjectId(message.key)}, parsed, session=session)

    consumer = Consumer(settings, handle)
    with (
        a_relay(tmp_path / "a.log", environment | {"OUTBOX_RELAY_TRIM_SECONDS": "0.2"}) as a,
        a_relay(tmp_path / "b.log", environment | {"OUTBOX_RELAY_TRIM_SECONDS": "0.2"}),
    ):
        await asyncio.to_thread(a.started)
        stop = asyncio.Event()
        work = [asyncio.create_task(uploads(world, stop)) for _ in range(2)]
        work += [asyncio.create_task(a_plain_worker(world, "w", stop)), asyncio.create_task(consumer.run())]
        try:
            looks = await look_while_it_works(world)
        finally:
            stop.set()
            consumer.stop()
            await asyncio.gather(*work)
    assert looks > 1

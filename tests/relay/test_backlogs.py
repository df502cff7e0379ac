"""A backlog, a relay and workers as they run for real: memory stays flat, and what is urgent overtakes (G7)."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Outbox, Priority, Stream
from outbox.database import OUTBOX, Database, Document
from outbox.message import schema
from outbox.message.document import new_document
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer
from tests.relay.processes import a_relay
from tests.waiting import eventually, stays

NAME, GROUP = "tasks", "workers"


@pytest.fixture
async def db(mongo: AsyncMongoClient[Document], database: str) -> Database:
    return Database(mongo, database)


class Place:
    """A declared stream with a backlog, and a relay that drains it."""

    def __init__(self, db: Database, mongodb_uri: str, redis_url: str, **declared: Any) -> None:
        self.db = db
        declaration = {"name": NAME, "group": GROUP, **declared}
        self.environment = {
            "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": db.name, "REDIS_URL": redis_url,
            "OUTBOX_STREAMS": json.dumps([declaration]), "OUTBOX_RELAY_TRIM_SECONDS": "1",
        }  # fmt: skip
        self.settings = load(
            OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=db.name, redis_url=redis_url,
            outbox_streams=[declaration],
        )  # fmt: skip
        self.streams = self.settings.streams

    async def pile_up(self, count: int) -> None:
        await schema.ensure(self.db, self.streams)
        for start in range(0, count, 5000):
            page = range(start, min(start + 5000, count))
            await self.db[OUTBOX].insert_many([a_message(self.streams[NAME], n) for n in page], ordered=False)

    async def count(self, state: str) -> int:
        return await self.db[OUTBOX].count_documents({"state": state})


def a_message(stream: Stream, number: int) -> Document:
    key = f"key-{number}"
    fields = {"number": str(number), "filename": "x" * 100}
    now = datetime.now(UTC)
    return new_document(stream, fields, key=key, headers=None, available_at=None, now=now, max_bytes=1000)


async def test_what_is_urgent_overtakes_a_backlog(
    db: Database, mongodb_uri: str, redis_url: str, tmp_path: Path
) -> None:
    place = Place(db, mongodb_uri, redis_url, priorities=["high", "low"], max_undelivered=50)
    await place.pile_up(3000)
    outbox = Outbox(place.streams, database=db.name)
    done: list[str] = []

    async def work(message: Any) -> None:
        done.append(message.fields["number"])

    worker = Consumer(place.settings, work)
    with a_relay(tmp_path / "relay.log", place.environment):
        working = asyncio.create_task(worker.run())
        await eventually(lambda: len(done) > 100, 30)
        before, at = len(done), time.monotonic()
        async with db.client.start_session() as session, await session.start_transaction():
            for priority in (Priority.LOW, Priority.HIGH):
                await outbox.append(session, NAME, {"number": priority}, key=priority, priority=priority)
        await eventually(lambda: "high" in done, 30, what="the urgent one")
        seconds, behind = time.monotonic() - at, done.index("high") - before
        assert await place.count("pending") > 1000, "there was no backlog any more to overtake"
        # The least urgent starves no more than the backlog does: it has its turns as well.
        await eventually(lambda: "low" in done, 30, what="the least urgent one")
        assert await place.count("pending") > 500
        worker.stop()
        await working
    assert behind < 1000, f"{behind} others came first, in {seconds:.1f} s"


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_redis_stays_as_small_as_it_is_with_a_large_backlog_and_nobody_at_work(
    db: Database, mongodb_uri: str, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    total, most = 100_000, 10_000
    place = Place(db, mongodb_uri, redis_url, max_undelivered=most)
    await place.pile_up(total)

    async def memory() -> int:
        return int((await redis.info("memory"))["used_memory"])

    async def grouped() -> dict[str, Any]:
        found = await redis.xinfo_groups(NAME) if await redis.exists(NAME) else []
        return found[0] if found else {"lag": 0, "pending": 0, "entries-read": 0}

    async def full() -> bool:
        return int((await grouped())["lag"] or 0) > most - 500

    at_first, seen, highest = await memory(), set[str](), 0
    with a_relay(tmp_path / "relay.log", place.environment):
        await eventually(full, 60)

        async def as_small() -> bool:
            return await redis.xlen(NAME) <= most and await memory() - at_first < 5_000_000

        await stays(as_small, 3)
        assert await place.count("pending") >= total - most

        while len(seen) < total:
            found: Any = await redis.xreadgroup(GROUP, "worker", {NAME: ">"}, count=500, block=5000)
            entries = [entry for _, page in found for entry in page]
            seen.update(fields["message_id"] for _, fields in entries)
            if entries:
                await redis.xack(NAME, GROUP, *(id_ for id_, _ in entries))
            highest = max(highest, await memory())
        assert await redis.xlen(NAME) <= total
        await eventually(lambda: _is_empty(redis), 30, what="trimming")
    assert highest - at_first < 20_000_000
    assert await place.count("completed") == total


async def _is_empty(redis: Redis) -> bool:
    return await redis.xlen(NAME) == 0

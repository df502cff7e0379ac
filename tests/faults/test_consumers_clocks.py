"""The clock of Redis is set back, or ahead: what consumers hold is taken over in its time all the same (G6)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from outbox.database import Document
from outbox.embedded import RedisServer
from outbox.protocol import ownership
from outbox.servers.connections import connect_redis
from outbox.servers.topology import AnyRedis
from outbox.settings import OutboxSettings, load
from outbox.worker.rescue import Rescue
from tests.faults.clocks import Clock, build
from tests.relay.world import STREAM as ONE_PARTITION
from tests.relay.world import World, a_world
from tests.waiting import eventually

HOUR = 3600
YEARS = 2 * 365 * 24 * HOUR
RESCUED = replace(ONE_PARTITION, rescue_seconds=60)


@pytest.fixture
def redis_clock(tmp_path: Path) -> Clock:
    return Clock(build(tmp_path), tmp_path / "redis-clock")


async def test_what_the_dead_hold_is_taken_over_although_the_clock_of_redis_was_set_back_by_years(
    mongo: AsyncMongoClient[Document], database: str, redis_clock: Clock, tmp_path: Path
) -> None:
    """Until then an entry would count as just delivered; entries of groups that are not ours are left alone."""
    async with a_world_with(mongo, database, redis_clock, tmp_path) as world:
        await world.append("f1", "f2", "f3")
        await (await world.owner()).drain_all()
        await world.redis.xgroup_create(RESCUED.key, "others", "0")
        for group, consumer in ((RESCUED.group, "outbox:dead"), (RESCUED.group, "plain"), ("others", "theirs")):
            await world.redis.xreadgroup(group, consumer, {RESCUED.key: ">"}, count=1)
        redis_clock.set(-YEARS)
        rescue = Rescue(world.database, world.redis)
        # A busy server may answer once more by the clock as it was: relays look again and again, too.
        ahead = await until_there_are(2, lambda: rescue.times_ahead(RESCUED))
        assert (ahead, await rescue.times_ahead(RESCUED)) == (2, 0)
        redis_clock.set(-YEARS + 2 * int(RESCUED.rescue_seconds))

        async def rescued() -> int:
            return (await rescue.abandoned(RESCUED)).rescued

        assert await until_there_are(2, rescued) == 2
        [theirs] = (await world.redis.xinfo_stream(RESCUED.key, full=True))["groups"][1]["consumers"]
        assert theirs["seen-time"] > 1000 * (time.time() - HOUR)


async def test_what_a_consumer_failed_on_is_taken_over_although_it_reads_on_after_redis_was_set_back_by_a_day(
    mongo: AsyncMongoClient[Document],
    database: str,
    redis_clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own time is a new one by then. The times of the entries that it has forgotten are not."""
    monkeypatch.setattr(ownership, "AHEAD_PAGE", 2)
    async with a_world_with(mongo, database, redis_clock, tmp_path) as world:
        await world.append(*(f"f{number}" for number in range(6)))
        await (await world.owner()).drain_all()
        await world.redis.xreadgroup(RESCUED.group, "plain", {RESCUED.key: ">"}, count=5)
        await step(redis_clock, world.redis, -24 * HOUR)
        await world.redis.xreadgroup(RESCUED.group, "plain", {RESCUED.key: ">"}, count=1)
        rescue = Rescue(world.database, world.redis)
        assert (await rescue.times_ahead(RESCUED), await rescue.times_ahead(RESCUED)) == (5, 0)
        await step(redis_clock, world.redis, -24 * HOUR + 2 * int(RESCUED.rescue_seconds))
        assert (await rescue.abandoned(RESCUED)).rescued == 6


async def test_a_consumer_whose_last_sign_of_life_lies_ahead_counts_as_silent_from_then_on(
    mongo: AsyncMongoClient[Document], database: str, redis_clock: Clock, tmp_path: Path
) -> None:
    """Although what it holds was delivered before, while the clock was right."""
    async with a_world_with(mongo, database, redis_clock, tmp_path) as world:
        await world.append("f1", "f2")
        await (await world.owner()).drain_all()
        await world.redis.xreadgroup(RESCUED.group, "outbox:dead", {RESCUED.key: ">"}, count=1)
        await step(redis_clock, world.redis, HOUR)
        answer: Any = await world.redis.xreadgroup(RESCUED.group, "outbox:dead", {RESCUED.key: ">"}, count=1)
        [[_, [(done, _)]]] = answer
        await world.redis.xack(RESCUED.key, RESCUED.group, done)
        await step(redis_clock, world.redis, 0)
        rescue = Rescue(world.database, world.redis)
        assert (await rescue.times_ahead(RESCUED), await rescue.times_ahead(RESCUED)) == (1, 0)
        await step(redis_clock, world.redis, 2 * int(RESCUED.rescue_seconds))
        assert (await rescue.abandoned(RESCUED)).rescued == 1


@asynccontextmanager
async def a_world_with(
    mongo: AsyncMongoClient[Document], database: str, redis_clock: Clock, tmp_path: Path
) -> AsyncIterator[World]:
    """A world whose Redis has this clock."""
    server = RedisServer(tmp_path / "redis")
    server.env = redis_clock.environment
    with server:
        async with (
            connect_redis(load(OutboxSettings, redis_url=server.url)) as redis,
            a_world(mongo, database, redis, [RESCUED]) as world,
        ):
            yield world


async def step(clock: Clock, redis: AnyRedis, seconds: int) -> None:
    """Step, and wait until the server answers by it: a busy one may answer once more by the clock as it was."""
    clock.set(seconds)

    async def has_stepped() -> bool:
        now: tuple[int, int] = await redis.time()
        return abs(now[0] - time.time() - seconds) < 5

    await eventually(has_stepped)


async def until_there_are(enough: int, look: Callable[[], Awaitable[int]]) -> int:
    """Of several looks together."""
    found = 0

    async def enough_are_found() -> bool:
        nonlocal found
        found += await look()
        return found >= enough

    await eventually(enough_are_found)
    return found

"""A neighbour's group that does nothing is ignored when that is declared, and none whose consumers only cannot ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from outbox import Stream, Streams
from outbox.delivery import trim
from outbox.delivery.evidence import Judged
from outbox.embedded import RedisServer
from outbox.operations import stats
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from outbox.streams.entry_ids import EntryId
from outbox_relay.trimmer import Trimmer
from tests.relay.silence import Clock
from tests.relay.world import STREAM, World

NAME, GROUP = STREAM.name, STREAM.group
EVERY = 10.0
"""Seconds between two looks."""


def ignoring(seconds: float | None) -> Streams:
    """The stream, in which groups are ignored that are silent for so long."""
    stream = Stream(NAME, GROUP, partitions=1, subject=STREAM.subject)
    object.__setattr__(stream, "ignore_groups_after_seconds", seconds)  # some of them sooner than anybody may declare
    return Streams([stream])


@pytest.fixture
async def impatient(redis_url: str) -> AsyncIterator[Redis]:
    """A client that waits for half a second only."""
    async with connect_redis(load(OutboxSettings, redis_url=redis_url), timeout_seconds=0.5) as client:
        yield cast(Redis, client)


class Neighbour:
    """A relay that looks each ten seconds, and the group `audit` of another program, which is behind."""

    def __init__(self, world: World, clock: Clock, streams: Streams) -> None:
        self.redis = world.redis
        self.clock = clock
        self.trimmer = Trimmer(world.database, world.redis, streams, seconds=EVERY)

    async def published(self, ids: list[str] | None = None) -> None:
        """Six entries, which the stream's own group has done, and of which `audit` has read and done one."""
        for id_ in ids or ["*"] * 6:
            await self.redis.xadd(NAME, {"of": "another program"}, id=id_)
        for group, count in ((GROUP, 6), ("audit", 1)):
            await self.redis.xgroup_create(NAME, group, id="0")
            await self.redis.xack(NAME, group, *await self.read(group, count))

    async def read(self, group: str = "audit", count: int = 10, start: str = ">") -> list[str]:
        found = await self.redis.xreadgroup(group, "reader", {NAME: start}, count=count)
        return [id_ for _, entries in cast(Any, found) for id_, _ in entries]

    async def looks(self, seconds: float) -> int:
        """For so long, in which nothing else happens; how many entries have been removed."""
        removed = (await self.trimmer.run_once()).removed
        for _ in range(round(seconds / EVERY)):
            self.clock.now += EVERY
            removed += (await self.trimmer.run_once()).removed
        return removed


async def test_after_an_outage_of_redis_the_consumers_find_what_they_have_not_read(
    world: World, clock: Clock, redis_server: RedisServer
) -> None:
    """The host of Redis is suspended for longer than a group may be silent, and the relay is back before the group."""
    neighbour = Neighbour(world, clock, ignoring(1.0))
    await neighbour.published()
    assert await neighbour.looks(20) == 1
    redis_server.pause()
    time.sleep(1.5)
    redis_server.resume()
    clock.now += 3600
    assert await neighbour.looks(20) == 0
    assert len(await neighbour.read()) == 5


async def test_the_time_around_a_look_that_failed_does_not_count(
    world: World, clock: Clock, redis_server: RedisServer, impatient: Redis
) -> None:
    """Also where the next one comes soon enough."""
    neighbour = Neighbour(world, clock, ignoring(60.0))
    await neighbour.published()
    await neighbour.looks(50)
    clock.now += EVERY
    redis_server.pause()
    neighbour.trimmer._redis = impatient
    with pytest.raises(RedisError):
        await neighbour.trimmer.run_once()
    redis_server.resume()
    neighbour.trimmer._redis = world.redis
    clock.now += EVERY
    assert await neighbour.looks(0) == 0
    assert await neighbour.looks(10) == 5


async def test_a_clock_of_redis_that_runs_ahead_makes_nobody_silent(world: World, clock: Clock) -> None:
    """By it, both the entries and the last question of the group's consumer are as old as that, all at once."""
    neighbour = Neighbour(world, clock, ignoring(1.0))
    await neighbour.published()
    await neighbour.looks(0)
    await asyncio.sleep(1.2)  # of which the relay's own clock has seen ten seconds' half
    clock.now += EVERY / 2
    assert await neighbour.looks(0) == 0


async def test_a_group_behind_is_not_ignored_at_the_start_of_a_relay(world: World, clock: Clock) -> None:
    """How long nobody has looked before is not known."""
    neighbour = Neighbour(world, clock, ignoring(1.0))
    await neighbour.published()
    await asyncio.sleep(1.2)
    assert await neighbour.looks(0) == 1  # the one that both have done
    assert len(await neighbour.read()) == 5


MICROSECONDS = [f"{1_790_000_000_000_000 + n}-0" for n in range(6)]
BEYOND_FLOATS = [f"18446744073709551{n}-0" for n in range(100, 106)]


@pytest.mark.parametrize("ids", [None, MICROSECONDS, BEYOND_FLOATS], ids=["now", "microseconds", "far ahead"])
async def test_a_dead_group_is_ignored_wherever_the_ids_lie(world: World, clock: Clock, ids: list[str] | None) -> None:
    neighbour = Neighbour(world, clock, ignoring(3600))
    await neighbour.published(ids)
    assert await neighbour.looks(3590) == 1
    assert await neighbour.looks(10) == 5


async def test_a_pass_that_takes_long_does_not_begin_a_long_silence_anew(world: World, clock: Clock) -> None:
    neighbour = Neighbour(world, clock, ignoring(3600))
    await neighbour.published()
    for _ in range(12):
        await neighbour.looks(0)
        clock.now += 300
    assert await neighbour.looks(0) == 5


@pytest.mark.parametrize("ids", [MICROSECONDS, BEYOND_FLOATS], ids=["microseconds", "far ahead"])
async def test_a_dead_group_is_told_of_wherever_the_ids_lie(
    world: World, clock: Clock, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = Neighbour(world, clock, ignoring(None))
    await neighbour.published(ids)
    await neighbour.looks(3600)
    assert (await neighbour.trimmer.run_once()).abandoned == 1
    await asyncio.sleep(0.2)
    monkeypatch.setattr(trim, "ABANDONED_SECONDS", 0.1)  # the status goes by when its consumers have asked
    (warning,) = (await stats.queue(world.redis, world.streams)).warnings
    assert "XGROUP DESTROY file_parsing_queue audit" in warning


LIFE: dict[str, Callable[[Neighbour, list[str]], Any]] = {
    "reads again what it holds": lambda neighbour, _: neighbour.read(start="0"),
    "acknowledges": lambda neighbour, held: neighbour.redis.xack(NAME, "audit", held.pop()),
    "claims": lambda neighbour, held: neighbour.redis.xclaim(NAME, "audit", "reader", 0, list[Any](held)),
    "has a new consumer": lambda neighbour, held: neighbour.redis.xgroup_createconsumer(NAME, "audit", held.pop()),
    "is set": lambda neighbour, held: neighbour.redis.xgroup_setid(NAME, "audit", held.pop(0)),
}


@pytest.mark.parametrize("sign", LIFE.values(), ids=LIFE)
async def test_a_group_that_gives_a_sign_of_life_now_and_then_is_not_ignored(
    world: World, clock: Clock, sign: Callable[[Neighbour, list[str]], Any]
) -> None:
    """However the sign comes between two looks; also right before entries would be removed."""
    neighbour = Neighbour(world, clock, ignoring(60))
    await neighbour.published()
    held = await neighbour.read(count=4)
    await neighbour.looks(0)
    for _ in range(3):
        before = await world.redis.xlen(NAME)
        assert await neighbour.looks(50) == 0
        clock.now += EVERY
        await asyncio.sleep(0.002)  # the sign's own time is in milliseconds
        await sign(neighbour, held)
        assert await world.redis.xlen(NAME) == before
        assert await neighbour.looks(0) == 0
    assert await neighbour.looks(60) > 0


async def test_a_group_that_reads_between_look_and_removal_loses_nothing(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Stream(NAME, GROUP, partitions=1, ignore_groups_after_seconds=60)
    neighbour = Neighbour(world, clock, Streams([bare]))
    await neighbour.published()
    await neighbour.looks(50)
    clock.now += EVERY
    held = []

    async def meanwhile(*_: object, **__: object) -> Judged:
        held.extend(await neighbour.read())
        return Judged(bound=str(EntryId.parse(held[-1]).next()))

    monkeypatch.setattr("outbox.delivery.trim.judge", meanwhile)
    assert (await neighbour.trimmer.run_once()).removed == 0
    assert [id_ for id_, _ in await world.stream()] == held


@pytest.mark.parametrize("done", [True, False], ids=["has done all", "has been deprived of it"])
async def test_a_group_for_which_nothing_waits_is_not_silent(done: bool, world: World, clock: Clock) -> None:
    """Its consumer has waited for hours in vain. From when something is published, it has its time."""
    neighbour = Neighbour(world, clock, ignoring(60))
    await neighbour.published()
    if done:
        await world.redis.xack(NAME, "audit", *await neighbour.read())
    else:
        await world.redis.xtrim(NAME, maxlen=0)
    await neighbour.looks(7200)
    assert (await neighbour.trimmer.run_once()).abandoned == 0
    await world.redis.xadd(NAME, {"of": "another program"})
    await world.redis.xack(NAME, GROUP, *await neighbour.read(GROUP))
    assert await neighbour.looks(50) == 0
    assert len(await neighbour.read()) == 1

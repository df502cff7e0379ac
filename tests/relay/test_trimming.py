"""What every group has acknowledged leaves Redis, and nothing else does (G7)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox import Stream, Streams
from outbox.database import OUTBOX, Document
from outbox.delivery.evidence import Judged
from outbox.delivery.trim import trim
from outbox.operations import stats
from outbox.streams.entry_ids import EntryId
from outbox_relay.trimmer import Trimmer
from tests.relay.silence import Clock
from tests.relay.world import STREAM, World, a_world

NAME, GROUP = STREAM.name, STREAM.group
NO_SUBJECT = Stream(NAME, GROUP, partitions=1)


@pytest.fixture
async def bare(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    """A world whose stream has no subject."""
    async with a_world(mongo, database, redis, [NO_SUBJECT]) as made:
        yield made


async def read(redis: Redis, count: int, group: str = GROUP) -> list[str]:
    found = await redis.xreadgroup(group, "worker", {NAME: ">"}, count=count)
    return [id_ for _, entries in cast(Any, found) for id_, _ in entries]


async def left(world: World) -> list[str]:
    return [id_ for id_, _ in await world.stream()]


async def published(world: World, count: int = 4) -> list[str]:
    await world.append(*(f"f{n}" for n in range(count)))
    await (await world.owner(relay_batch_size=2)).drain_all()
    return await left(world)


async def trimmed(world: World, stream: Stream = STREAM) -> list[str]:
    await trim(world.database, world.redis, stream)
    return await left(world)


async def test_what_is_acknowledged_goes_up_to_the_first_that_is_not(world: World) -> None:
    ids = await published(world)
    assert await trimmed(world) == ids  # given to nobody
    one, two, three, _ = await read(world.redis, 4)
    await world.redis.xack(NAME, GROUP, two, three)
    assert await trimmed(world) == ids  # in somebody's hands
    await world.redis.xack(NAME, GROUP, one)
    assert await trimmed(world) == ids[3:]
    await world.redis.xack(NAME, GROUP, ids[3])
    assert await trimmed(world) == []
    groups = await world.redis.xinfo_groups(NAME)
    assert [(group["name"], group["lag"]) for group in groups] == [(GROUP, 0)]


async def test_a_group_that_was_set_back_needs_what_comes_then_although_it_holds_something_later(world: World) -> None:
    ids = await published(world, 8)
    await world.redis.xack(NAME, GROUP, *(await read(world.redis, 8))[:7])
    await world.redis.xgroup_setid(NAME, GROUP, ids[1])
    assert await trimmed(world) == ids[2:]
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 5))
    assert await trimmed(world) == ids[7:]


async def test_redis_still_counts_what_nobody_was_given(world: World) -> None:
    """Back-pressure relies on it."""
    await published(world, 6)
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 3))
    assert len(await trimmed(world)) == 3
    (group,) = await world.redis.xinfo_groups(NAME)
    assert group["lag"] == 3


async def test_a_relay_does_not_take_trimmed_entries_for_lost_ones(world: World) -> None:
    ids = await published(world)
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 4))
    await world.settle(*(f"f{n}" for n in range(4)))
    assert await trimmed(world) == []
    await world.redis.delete(STREAM.checkpoint_key(0))  # only the stream tells what is there now
    later = await world.append("f5")
    await (await world.owner()).drain_all()
    assert await world.published_ids() == [str(id_) for id_ in later]
    assert (await left(world))[0] > ids[-1]


async def test_every_group_keeps_what_it_has_not_acknowledged(world: World) -> None:
    ids = await published(world)
    await world.redis.xgroup_create(NAME, "audit", id="0")
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 4))
    assert await trimmed(world) == ids
    await world.redis.xack(NAME, "audit", *await read(world.redis, 2, "audit"))
    assert await trimmed(world) == ids[2:]


async def test_without_the_declared_group_nothing_goes(world: World) -> None:
    ids = await published(world)
    await world.redis.xgroup_create(NAME, "audit", id="$")
    await world.redis.xgroup_destroy(NAME, GROUP)
    assert await trimmed(world) == ids


async def test_a_stream_that_is_not_there_or_not_to_be_trimmed_is_left_alone(world: World) -> None:
    assert await trimmed(world) == []
    ids = await published(world)
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 4))
    assert await trimmed(world, Stream(NAME, GROUP, trim=False)) == ids
    assert await trimmed(world) == []


async def test_a_group_that_is_created_between_look_and_removal_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await published(world)
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 4))

    async def meanwhile(*_: object, **__: object) -> Judged:
        await world.redis.xgroup_create(NAME, "late", id="0")
        return Judged(bound=str(EntryId.parse(ids[-1]).next()))

    monkeypatch.setattr("outbox.delivery.trim.judge", meanwhile)
    assert await trimmed(world, NO_SUBJECT) == ids


async def test_an_abandoned_group_is_told_of_once_and_ignored_when_that_is_declared(world: World, clock: Clock) -> None:
    ids = await published(world)
    await world.redis.xgroup_create(NAME, "audit", id="0")
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 4))
    await age_entries(world, 7200)
    ids = await left(world)
    trimmer = Trimmer(world.database, world.redis, world.streams)
    with capture_logs() as logs:
        assert [(await trimmer.run_once()).abandoned for _ in range(3)] == [1, 1, 1]
    (told,) = logs
    assert (told["log_level"], told["event"]) == ("warning", "trimming blocked by a group")
    assert "'audit' of stream 'file_parsing_queue'" in told["reason"]
    assert await left(world) == ids
    (warning,) = (await stats.queue(world.redis, world.streams)).warnings
    assert "XGROUP DESTROY file_parsing_queue audit" in warning

    ignoring = Stream(NAME, GROUP, partitions=1, subject=STREAM.subject, ignore_groups_after_seconds=3600)
    with capture_logs() as logs:
        trimmer = Trimmer(world.database, world.redis, Streams([ignoring]))
        assert [(await trimmer.run_once()).removed, await left(world)] == [0, ids]  # a relay has only begun to count
        for _ in range(3600 // 20):
            clock.now += 20
            done = await trimmer.run_once()
    assert (done.removed, done.abandoned) == (4, 1)
    assert ["until a relay has seen it" in one["reason"] for one in logs] == [True, False]
    assert "is ignored" in logs[1]["reason"]
    assert await left(world) == []


async def test_a_group_that_is_slow_but_there_is_neither_told_of_nor_ignored(world: World) -> None:
    await published(world)
    await world.redis.xgroup_create(NAME, "audit", id="0")
    await world.redis.xack(NAME, GROUP, *await read(world.redis, 4))
    await age_entries(world, 7200)
    held = await read(world.redis, 1, "audit")  # just now
    ignoring = Stream(NAME, GROUP, partitions=1, subject=STREAM.subject, ignore_groups_after_seconds=3600)
    done = await Trimmer(world.database, world.redis, Streams([ignoring])).run_once()
    assert (done.removed, done.abandoned) == (0, 0)
    assert held[0] in await left(world)


async def age_entries(world: World, seconds: int) -> None:
    """The stream again, with entries whose ids say that they were added so long ago; both groups as they were."""
    entries = await world.stream()
    groups = await world.redis.xinfo_groups(NAME)
    await world.redis.delete(NAME)

    def then(id_: str) -> str:
        milliseconds, _, sequence = id_.partition("-")
        return f"{int(milliseconds) - seconds * 1000}-{sequence}"

    for id_, fields in entries:
        await world.redis.xadd(NAME, cast(Any, fields), id=then(id_))
    for group in groups:
        reached = group["last-delivered-id"]
        start = "0-0" if reached == "0-0" else then(reached)
        await world.redis.xgroup_create(NAME, group["name"], id=start)


class TestWithoutSubject:
    async def states(self, world: World) -> list[str]:
        found = await world.database[OUTBOX].find().sort("position").to_list()
        return [message["state"] for message in found]

    async def test_what_is_acknowledged_is_completed(self, bare: World) -> None:
        ids = await published(bare)  # in batches of two
        await bare.redis.xack(NAME, GROUP, *await read(bare.redis, 3))
        assert await trimmed(bare, NO_SUBJECT) == ids[3:]
        assert await self.states(bare) == ["completed"] * 3 + ["published"]
        await bare.redis.xack(NAME, GROUP, *await read(bare.redis, 1))
        assert await trimmed(bare, NO_SUBJECT) == []
        assert await self.states(bare) == ["completed"] * 4

    async def test_it_does_not_come_again_after_a_loss(self, bare: World) -> None:
        await published(bare)
        await bare.redis.xack(NAME, GROUP, *await read(bare.redis, 2))
        await trimmed(bare, NO_SUBJECT)
        await bare.redis.flushall()
        await (await bare.owner()).drain_all()
        assert [(entry["file_id"], entry["attempt"]) for entry in await bare.entries()] == [("f2", "1"), ("f3", "1")]

    async def test_what_was_replayed_is_judged_by_its_new_entry(
        self, bare: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when it was published and not marked, so that only the checkpoint knew of it."""
        await published(bare, 2)
        await bare.redis.xack(NAME, GROUP, *await read(bare.redis, 2))
        await bare.database[OUTBOX].update_many({}, {"$set": {"state": "pending"}})
        owner = await bare.owner()

        mark = bare.store.mark

        async def crash(held: Any, session: Any, sent: Any, entries: Any) -> int:
            if any(one.attempt == 2 for one in sent):  # not when a reconciliation marks
                raise ConnectionError
            return await mark(held, session, sent, entries)

        with monkeypatch.context() as patch:
            patch.setattr(bare.store, "mark", crash)
            with pytest.raises(ConnectionError):
                await owner.drain_all()
        await (await bare.owner("next")).drain_all()
        assert len(await trimmed(bare, NO_SUBJECT)) == 2
        assert await self.states(bare) == ["published", "published"]
        await bare.append("f3")
        await (await bare.owner("last")).drain_all()
        await bare.redis.xack(NAME, GROUP, *await read(bare.redis, 3))
        assert await trimmed(bare, NO_SUBJECT) == []
        assert await self.states(bare) == ["completed"] * 3


@pytest.mark.parametrize("seed", [1, 2])
async def test_under_load_no_entry_goes_that_somebody_has_not_acknowledged(
    seed: int, redis: Redis, world: World
) -> None:
    """Two groups that read, keep, and acknowledge at random, while entries are added and trimmed all the time.

    What must hold is kept in this test's own books: all that was added, and what each group has acknowledged.
    """
    chance = random.Random(seed)
    added: list[str] = []
    acknowledged: dict[str, set[str]] = {GROUP: set(), "audit": set()}
    for group in acknowledged:
        await redis.xgroup_create(NAME, group, id="0", mkstream=True)
    done, removed = asyncio.Event(), 0

    async def add() -> None:
        # On until enough has gone while all were at it: how much that is after 200 rounds depends on the machine alone.
        for n in itertools.takewhile(lambda n: not done.is_set() and (n < 200 or removed <= 100), itertools.count()):
            async with redis.pipeline(transaction=False) as pipe:
                for m in range(chance.randint(1, 25)):
                    pipe.xadd(NAME, {"n": str(n), "m": str(m)})
                added.extend(await pipe.execute())
            await asyncio.sleep(0 if n < 200 else 0.02)
        done.set()

    async def work(group: str) -> None:
        hand: list[str] = []
        while not done.is_set() or hand:
            hand += await read(redis, chance.randint(1, 40), group)
            chance.shuffle(hand)
            for _ in range(chance.randint(0, len(hand)) if not done.is_set() else len(hand)):
                acknowledged[group].add(hand[-1])  # first: it may go from the moment it is acknowledged
                await redis.xack(NAME, group, hand.pop())

    async def keep_trimming() -> None:
        nonlocal removed
        try:
            while not done.is_set():
                removed += (await trim(world.database, redis, STREAM)).removed
                before = list(added)
                there = {id_ for id_, _ in cast(Any, await redis.xrange(NAME))}
                # Whatever was added before the look and is not there must be acknowledged by both.
                assert set(before) - there - (acknowledged[GROUP] & acknowledged["audit"]) == set()
        finally:
            done.set()  # or the others would go on after the test has failed

    await asyncio.gather(add(), work(GROUP), work("audit"), keep_trimming())
    while (await trim(world.database, redis, STREAM)).removed:
        pass
    needed = set(added) - (acknowledged[GROUP] & acknowledged["audit"])
    assert needed <= {id_ for id_, _ in cast(Any, await redis.xrange(NAME))}

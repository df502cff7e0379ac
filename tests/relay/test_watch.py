"""A loss is noticed where nothing is published: one short call for all partitions of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from redis.asyncio import Redis

from outbox.database import Document
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Partition
from outbox.streams.keys import record_key
from outbox_relay import daemon
from outbox_relay.drained import Outcome
from outbox_relay.watch import Watch
from tests.faults.relays import in_this_process
from tests.relay.test_daemon import FOUR
from tests.relay.world import PARTITION, STREAM, Owner, World, a_world
from tests.waiting import eventually

CHECKPOINT, RECORD = STREAM.checkpoint_key(0), record_key(STREAM.name)


@pytest.fixture
def never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox_relay.watch.WHOLE_SECONDS", 3600.0)  # only when a test asks for a whole look


class Rounds:
    """A watch over one owner's partition, whose every round looks."""

    def __init__(self, world: World, owner: Owner) -> None:
        self.woken: list[Partition] = []
        self.watch = Watch(world.checkpoints, self._wake, seconds=0.0)
        self.watch.join(owner.drainer)

    def _wake(self, partitions: Collection[Partition]) -> None:
        self.woken += partitions

    async def round(self) -> int:
        """How many partitions are doubted."""
        self.watch.hurry()
        return (await self.watch.run_once()).doubted


@asynccontextmanager
async def an_idle_owner(world: World) -> AsyncIterator[tuple[Owner, Rounds]]:
    """It has published two messages, and would not look at its checkpoint again by itself."""
    await world.append("f1", "f2")
    owner = await world.owner()
    assert await owner.drain_all() == 2
    yield owner, Rounds(world, owner)


async def comes_back(world: World, owner: Owner, rounds: Rounds, entries: int = 2) -> None:
    assert (await owner.drain()).outcome is Outcome.EMPTY, "who looks must be the watch"
    assert await rounds.round() == 1
    assert rounds.woken == [PARTITION]
    assert (await owner.drain()).outcome is Outcome.REFUSED
    await owner.drain_all()
    assert len(await world.stream()) == entries
    assert await rounds.round() == 0


async def test_an_idle_partition_that_has_lost_nothing_is_not_doubted(world: World) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        for _ in range(3):
            assert await rounds.round() == 0
        assert rounds.woken == []
        assert (await owner.drain()).outcome is Outcome.EMPTY


@pytest.mark.parametrize("keys", [["*"], [STREAM.name], [CHECKPOINT], [RECORD], [STREAM.name, CHECKPOINT]])
async def test_what_is_deleted_is_noticed(world: World, keys: list[str]) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        await (world.redis.flushall() if keys == ["*"] else world.redis.delete(*keys))
        await comes_back(world, owner, rounds)


async def test_an_older_copy_is_noticed(world: World) -> None:
    """A backup that was restored, or a replica that was behind when it was promoted."""
    await world.append("f0")
    owner = await world.owner()
    await owner.drain_all()
    copy = await world.remember()
    await world.append("f1")
    await owner.drain_all()
    await world.restore(copy)
    await comes_back(world, owner, Rounds(world, owner))


async def test_a_stream_that_others_have_made_again_is_noticed(world: World) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        await world.redis.delete(STREAM.name)
        for _ in range(3):
            await world.redis.xadd(STREAM.name, {"file_id": "by hand"})
        await world.redis.xgroup_create(STREAM.name, STREAM.group, "0")
        await comes_back(world, owner, rounds, entries=5)


async def test_a_group_that_was_destroyed_is_there_again(world: World) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        await world.redis.xgroup_destroy(STREAM.name, STREAM.group)
        assert await rounds.round() == 1
        assert (await owner.drain()).outcome is Outcome.EMPTY
        assert [group["name"] for group in await world.redis.xinfo_groups(STREAM.name)] == [STREAM.group]
        assert await rounds.round() == 0


async def test_what_others_add_is_no_loss_and_is_put_on_record(world: World) -> None:
    """Or a stream that is deleted after that could not be told from one that others have filled."""
    async with an_idle_owner(world) as (_, rounds):
        added = await world.redis.xadd(STREAM.name, {"file_id": "by hand"})
        assert await rounds.round() == 0
        assert await world.redis.hget(RECORD, "last") == added


async def test_a_quiet_look_writes_nothing(world: World) -> None:
    async with an_idle_owner(world) as (_, rounds):
        offset = (await world.redis.info("replication"))["master_repl_offset"]
        for _ in range(3):
            await rounds.round()
        assert (await world.redis.info("replication"))["master_repl_offset"] == offset


async def test_who_was_seen_to_be_all_right_does_not_look_itself(world: World) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        owner.drainer.doubt()
        await rounds.round()
        looks = (await world.redis.info("stats"))["total_commands_processed"]
        assert (await owner.drain()).outcome is Outcome.EMPTY
        assert (await world.redis.info("stats"))["total_commands_processed"] == looks + 1, "that of this question"


async def checkpoints_read(world: World, rounds: Rounds) -> int:
    """By one look that need not be a whole one."""
    rounds.watch._next.clear()
    before = await hmgets(world)
    assert (await rounds.watch.run_once()).looked_at == 1
    return await hmgets(world) - before - 1  # the stream's record


async def hmgets(world: World) -> int:
    return int((await world.redis.info("commandstats"))["cmdstat_hmget"]["calls"])


@pytest.mark.usefixtures("never_whole")
async def test_as_long_as_a_stream_is_still_its_checkpoints_are_read_once(world: World) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        assert await rounds.round() == 0
        assert [await checkpoints_read(world, rounds) for _ in range(2)] == [0, 0]
        await world.redis.xadd(STREAM.name, {"file_id": "by hand"})
        assert [await checkpoints_read(world, rounds) for _ in range(2)] == [1, 0]
        owner.drainer.doubt()
        assert (await owner.drain()).outcome is Outcome.EMPTY
        await owner.drainer.close()
        await owner.drain_all()
        assert [await checkpoints_read(world, rounds) for _ in range(2)] == [1, 0], "it was opened under a new token"


@pytest.mark.usefixtures("never_whole")
async def test_an_older_copy_is_noticed_between_whole_looks(world: World) -> None:
    await world.append("f0")
    owner = await world.owner()
    await owner.drain_all()
    copy = await world.remember()
    await world.append("f1")
    await owner.drain_all()
    rounds = Rounds(world, owner)
    assert await rounds.round() == 0
    await world.restore(copy)
    assert await checkpoints_read(world, rounds) == 1
    assert rounds.woken == [PARTITION]


@pytest.mark.usefixtures("never_whole")
async def test_after_a_look_that_failed_everything_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server may answer next, after a failover."""
    async with an_idle_owner(world) as (_, rounds):
        assert await rounds.round() == 0
        assert await checkpoints_read(world, rounds) == 0
        rounds.watch._next.clear()
        with monkeypatch.context() as patch:
            patch.setattr(world.checkpoints, "glance", _failing)
            with pytest.raises(ConnectionError):
                await rounds.watch.run_once()
        assert await checkpoints_read(world, rounds) == 1


async def _failing(*_: Any, **__: Any) -> object:
    raise ConnectionError("gone")


async def test_a_doubt_stays_until_the_partition_was_looked_at(world: World) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        assert await rounds.round() == 0
        await world.redis.delete(CHECKPOINT)
        assert await rounds.round() == 1
        rounds.watch._next.clear()
        assert (await rounds.watch.run_once()).doubted == 1, "its owner has not looked yet"
        assert (await owner.drain()).outcome is Outcome.REFUSED


async def test_another_history_seen_while_its_owner_works_is_not_taken_for_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a failover: what was added is lost between the answer to the look and the end of the pass."""
    async with an_idle_owner(world) as (owner, rounds):
        assert await rounds.round() == 0
        copy = await world.remember()
        glance = world.checkpoints.glance

        async def while_it_works(*args: Any, **options: Any) -> object:
            await world.append("f3")
            await owner.drain_all()
            await world.restore(copy)
            return await glance(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(world.checkpoints, "glance", while_it_works)
            assert await rounds.round() == 0
        rounds.watch._next.clear()
        assert (await rounds.watch.run_once()).doubted == 1


async def test_what_a_pass_changes_meanwhile_is_not_doubted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        glance = world.checkpoints.glance

        async def then_a_batch(*args: Any, **options: Any) -> object:
            answer = await glance(*args, **options)
            await world.append("f3")
            await owner.drain_all()
            return answer

        monkeypatch.setattr(world.checkpoints, "glance", then_a_batch)
        assert await rounds.round() == 0


async def test_a_pass_that_began_before_the_look_is_not_doubted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with an_idle_owner(world) as (owner, rounds):
        looked, fetch = asyncio.Event(), owner.drainer._fetch

        async def slow_fetch(session: AsyncClientSession) -> int:
            await looked.wait()
            return await fetch(session)

        monkeypatch.setattr(owner.drainer, "_fetch", slow_fetch)
        rounds.watch.hurry()
        watched = asyncio.create_task(rounds.watch.run_once())  # chooses whom to look at
        at_work = asyncio.create_task(owner.drain())  # and then this begins, before the look
        assert (await watched).doubted == 0
        looked.set()
        assert (await at_work).outcome is Outcome.EMPTY


async def test_a_stream_that_is_added_to_is_looked_at_twice_as_often(world: World) -> None:
    async with an_idle_owner(world) as (owner, _):
        watch = Watch(world.checkpoints, lambda _: None, seconds=1000.0)
        watch.join(owner.drainer)
        assert (await watch.run_once()).looked_at == 1
        assert (await watch.run_once()).looked_at == 0
        busy = watch._next[STREAM.name]
        watch.hurry()
        assert (await watch.run_once()).looked_at == 1
        assert watch._next[STREAM.name] - busy > 400


async def test_a_stream_that_is_not_registered_any_more_stops_nobody(world: World) -> None:
    async with an_idle_owner(world) as (_, rounds):
        del world.streams._streams[STREAM.name]
        assert await rounds.round() == 0


async def test_a_relay_brings_back_what_all_its_idle_partitions_have_lost(
    mongo: AsyncMongoClient[Document],
    mongodb_uri: str,
    database: str,
    redis: Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemon, "IDLE_SECONDS", 3600.0)  # no drainer looks by itself
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, redis_url=redis_url, mongodb_database=database)
    async with a_world(mongo, database, redis, [FOUR]) as world:

        async def all_there() -> bool:
            return len(await world.stream()) == 20 and set((await world.states()).values()) == {"published"}

        async with in_this_process(settings):
            await world.append(*(f"f{n}" for n in range(20)))
            await eventually(all_there)
            await redis.flushall()
            await eventually(all_there)

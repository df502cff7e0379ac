"""A paused stream: relays publish nothing of it, rescue nothing of it, and raise no alarm about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from bson import DatetimeMS
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Stream
from outbox.database import OUTBOX, STREAMS, Document
from outbox.embedded import ports
from outbox.errors import NoSuchStream, UsageError
from outbox.operations import audit, diagnosis, pausing, samples, stats
from outbox.operations.diagnosis import Level
from outbox.servers.clock import server_time
from outbox.streams import pauses
from outbox.streams.declaration import Partition, Priority
from outbox.worker.rescue import Rescue
from outbox_relay.backlog import Backlog
from outbox_relay.drained import Outcome
from outbox_relay.rescuer import Rescuer
from outbox_relay.service import Next
from tests.relay.processes import a_relay
from tests.relay.test_start_and_stop import answers
from tests.relay.world import STREAM, World, a_world
from tests.waiting import eventually

NAME = STREAM.name
OTHER = Stream("orders", "shop", partitions=1, groups=("mail",), priorities=(Priority.HIGH,))


@pytest.fixture
async def two(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis, [replace(STREAM, rescue_seconds=0.01), OTHER]) as made:
        yield made


async def pause(world: World, name: str = NAME, reason: str | None = None) -> None:
    assert await pausing.pause(world.database, name, who="anna", reason=reason)
    world.streams.pauses = await pauses.read(world.database)


async def resume(world: World, name: str = NAME) -> None:
    assert await pausing.resume(world.database, name, who="bert")
    world.streams.pauses = await pauses.read(world.database)


async def test_nothing_of_a_paused_stream_is_published_until_it_is_resumed(world: World) -> None:
    await world.append("f1")
    owner = await world.owner()
    await pause(world)
    drained = await owner.drain()
    assert (drained.outcome, drained.next, drained.published) == (Outcome.PAUSED, Next.WAIT, 0)
    await world.append("f2")
    assert (await owner.drain()).outcome is Outcome.PAUSED
    assert (await (await world.owner("next")).drain()).outcome is Outcome.PAUSED
    await resume(world)
    assert await (await world.owner("third")).drain_all() == 2
    assert [entry["file_id"] for entry in await world.entries()] == ["f1", "f2"]


async def test_what_was_fetched_before_the_pause_is_kept_back_too(world: World) -> None:
    await world.append("f1", "f2", "f3")
    owner = await world.owner(relay_batch_size=1)
    assert (await owner.drain()).published == 1
    await pause(world)
    assert (await owner.drain()).outcome is Outcome.PAUSED
    assert await world.published_ids() == [entry["message_id"] for entry in await world.entries()]
    assert len(await world.entries()) == 1
    assert sorted((await world.states()).values()) == ["pending", "pending", "published"]
    await resume(world)
    assert await owner.drain_all() == 2


async def test_a_loss_is_noticed_in_a_paused_stream_and_made_good_after_it(world: World) -> None:
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    await pause(world)
    await world.redis.flushall()
    owner.drainer.doubt()
    assert (await owner.drain()).outcome is Outcome.REFUSED
    assert (await owner.drain()).outcome is Outcome.PAUSED
    assert list((await world.states()).values()) == ["pending"]
    assert await world.entries() == []
    await resume(world)
    assert await owner.drain_all() == 1


async def test_the_time_of_a_pause_is_not_told_as_waiting_for_workers(world: World) -> None:
    owner = await world.owner()
    await owner.drain()
    owner.drainer._full_at = 0.0
    await pause(world)
    assert (await owner.drain()).held_back > 0
    assert (await owner.drain()).held_back == 0


async def test_pausing_is_on_record_and_done_once(world: World) -> None:
    await pause(world, reason="the parser is broken")
    assert not await pausing.pause(world.database, NAME, who="carl")
    found = (await pauses.read(world.database)).paused[NAME]
    assert (found.who, found.reason) == ("anna", "the parser is broken")
    assert found.at
    assert abs((await server_time(world.database)) - found.at) < timedelta(minutes=1)
    await resume(world)
    assert not await pausing.resume(world.database, NAME, who="carl")
    records = (await audit.page(world.database)).records
    assert [(one.action, one.who, dict(one.details)) for one in records] == [
        ("resume-stream", "bert", {"stream": NAME}),
        ("pause-stream", "anna", {"stream": NAME, "reason": "the parser is broken"}),
    ]


async def test_what_cannot_be_paused_is_refused(two: World) -> None:
    with pytest.raises(NoSuchStream, match="did you mean 'orders'"):
        await pausing.pause(two.database, "order", who="anna")
    with pytest.raises(NoSuchStream, match="part of stream 'orders'"):
        await pausing.pause(two.database, "orders:high", who="anna")
    with pytest.raises(UsageError, match="501"):
        await pausing.pause(two.database, "orders", who="anna", reason="x" * 501)
    assert not (await pauses.read(two.database)).paused
    assert not (await audit.page(two.database)).records


async def test_a_stream_is_paused_with_its_priorities_and_groups_and_no_other(two: World) -> None:
    await pause(two, "orders")
    paused = {name for name, stream in two.streams.items() if two.streams.pauses.of(stream)}
    assert paused == {"orders", "orders:high", "orders:mail", "orders:mail:high"}


async def test_what_others_wrote_as_a_pause_is_one(world: World) -> None:
    for odd in (True, "yes", {"at": 7, "who": 3}, {"at": DatetimeMS(2**62)}):
        await world.database[STREAMS].update_one({"_id": NAME}, {"$set": {"paused": odd}})
        assert str((await pauses.read(world.database)).paused[NAME]).startswith(f"stream '{NAME}' is paused; to go on")
    assert await pausing.resume(world.database, NAME, who="anna")


async def test_rescue_leaves_alone_what_is_held_in_a_paused_stream(two: World) -> None:
    owner = await two.owner()
    (id_,) = await two.append("f1")
    await owner.drain_all()
    await two.redis.xreadgroup(STREAM.group, "old worker", {NAME: ">"})
    rescuer = Rescuer(two.streams, Rescue(two.database, two.redis), lambda: [Partition(NAME, 0)])

    async def idle() -> bool:
        (entry,) = await two.redis.xpending_range(NAME, STREAM.group, min="-", max="+", count=1)
        return int(entry["time_since_delivered"]) > 20

    await eventually(idle)
    await pause(two)
    rescued = await rescuer.run_once()
    assert (rescued.found.rescued, rescued.found.dead, rescued.held) == (0, 0, {})
    assert (await two.states())[id_] == "published"
    assert (await stats.collect(two.database, two.redis, two.streams)).queue.held == ()
    await resume(two)
    assert (await rescuer.run_once()).found.rescued == 1


async def test_age_depth_and_diagnosis_of_a_paused_stream(two: World) -> None:
    owner = await two.owner()
    await two.append("f1", "f2")
    await owner.drain_all()
    await two.append("f3")
    await two.database[OUTBOX].update_many({}, {"$set": {"replayed_at": (await server_time(two.database))}})

    async def older(seconds: float) -> bool:
        age = (await stats.collect(two.database, two.redis, two.streams)).oldest_pending_seconds
        return age is not None and age > seconds

    await eventually(lambda: older(0.05))
    await pause(two, reason="the parser is broken")
    status = await stats.collect(two.database, two.redis, two.streams)
    assert status.oldest_pending_seconds is None
    assert status.as_json()["paused"][0] | {"at": None} == {
        "stream": NAME, "at": None, "who": "anna", "reason": "the parser is broken",
    }  # fmt: skip
    measured = await Backlog(two.database, two.redis, two.streams).run_once()
    assert measured.waiting.oldest_pending_seconds is None
    assert measured.undelivered[NAME] == 0, "more workers would have nothing to do"
    sample = await samples.take(two.database, two.redis, two.streams, since=None)
    found = diagnosis.diagnose(sample, two.streams)
    assert not [one for one in found if one.level is Level.BROKEN and "No relay" not in one.seen]
    (told,) = [one for one in found if "has been paused" in one.seen]
    assert "by anna: the parser is broken" in told.seen
    assert "outbox streams resume file_parsing_queue" in told.do
    await resume(two)
    age = (await stats.collect(two.database, two.redis, two.streams)).oldest_pending_seconds
    resumed = (await pauses.read(two.database)).resumed[NAME]
    now = await server_time(two.database)
    assert age is not None
    assert age <= (now - resumed).total_seconds(), "it counts from when it was resumed"
    assert (await Backlog(two.database, two.redis, two.streams).run_once()).undelivered[NAME] == 2


@pytest.mark.slow
async def test_relays_honour_a_pause_within_a_second_through_restarts_and_once_does_not_wait_for_it(
    two: World, mongodb_uri: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": two.database.name, "REDIS_URL": redis_url}

    async def published(count: int) -> bool:
        return len(await two.entries()) == count

    with a_relay(tmp_path / "relay.log", environment) as relay:
        await asyncio.to_thread(relay.started)
        await two.append("f1")
        await eventually(lambda: published(1))
        await pausing.pause(two.database, NAME, who="anna")
        await eventually(lambda: relay.told("stream paused"), 1)
        await two.append("f2")
    with a_relay(tmp_path / "once.log", environment, "--once") as once:
        await two.append("o1", stream="orders")
        assert await asyncio.to_thread(once.wait) == 0
    assert await published(1)
    assert await two.redis.xlen("orders") == 1
    port = ports.pick("127.0.0.1")
    with a_relay(tmp_path / "again.log", environment, "--port", str(port)) as again:
        await eventually(lambda: again.told("stream paused"), 20)
        (warning,) = [text for text in (await answers(port, "/readyz", 200))["warnings"] if "paused" in text]
        assert "by anna" in warning
        assert f"outbox streams resume {NAME}" in warning
        await pausing.resume(two.database, NAME, who="anna")
        await eventually(lambda: published(2), 2)

"""Workers at a stream that belongs to another outbox, or of which nobody knows whose it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.errors import ForeignStream
from outbox.protocol.ownership import UNKNOWN, Ownership, owner
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer
from tests.cli.conftest import Cli, bare, cli  # noqa: F401  # fixtures
from tests.outbox.ward import SOON, Ward
from tests.relay.test_ownership import environment_of, forget_whose, names_both, other, url_of
from tests.relay.world import STREAM, World, a_world
from tests.waiting import eventually
from tests.worker.processes import WorkerProcess, at_work, running

__all__ = ["other"]


def _settings(world: World, mongodb_uri: str) -> OutboxSettings:
    return load(
        OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=world.database.name, redis_url=url_of(world.redis)
    )


async def _never(message: Any) -> None:
    raise AssertionError(f"it was called with {message}")


async def test_a_worker_of_another_outbox_is_refused_at_its_start(
    world: World, other: World, mongodb_uri: str, tmp_path: Path
) -> None:
    first = await world.owner()
    await world.append("a", "b")
    await first.drain_all()
    before = await world.remember()
    worker = WorkerProcess(tmp_path / "worker.log", environment_of(other, mongodb_uri), "effect")
    with running(worker):
        assert await asyncio.to_thread(worker.wait) == 2
    assert names_both(worker.text(), world, other)
    assert await world.remember() == before


async def test_what_may_be_anothers_in_a_stream_that_names_nobody_comes_back_to_it(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis, other: World, mongodb_uri: str
) -> None:
    async with a_world(mongo, database, redis, [SOON]) as world:
        ward = Ward(world, await world.owner())
        ids = await ward.publish("a", "b")
        await forget_whose(redis)  # as relays of the version before leave it

        async def given_on() -> bool:
            pending: Any = await redis.xpending(SOON.name, SOON.group)
            return bool(pending["consumers"] == [{"name": UNKNOWN, "pending": 2}])

        async with at_work(Consumer(_settings(other, mongodb_uri), _never)):
            await eventually(given_on)
        assert len(await world.stream()) == 2
        await ward.owner.drainer.close()
        await ward.owner.drain_all()  # opens it anew, as an upgraded relay does
        assert await owner(redis, SOON) == world.ours
        assert (await ward.abandoned()).rescued == 2
        await ward.owner.drain_all()
        assert await world.states() == dict.fromkeys(ids, "published")
        assert await ward.held() == 0


async def test_an_entry_of_others_waits_for_the_relay_that_opens_the_stream(world: World, mongodb_uri: str) -> None:
    """As when worker and relay are upgraded, and started, together."""
    relay = await world.owner()
    await relay.drain_all()
    await forget_whose(world.redis)
    await world.redis.xadd(STREAM.name, {"file_id": "legacy"})
    consumer = Consumer(_settings(world, mongodb_uri), _never)

    async def held() -> bool:
        pending: Any = await world.redis.xpending(STREAM.name, STREAM.group)
        return bool(pending["consumers"] == [{"name": consumer.name, "pending": 1}])

    async with at_work(consumer):
        await eventually(held)
        assert await world.states() == {}
        await relay.drainer.close()
        await relay.drainer.run_once()
        await eventually(world.states, what="it is adopted")
        await eventually(lambda: _is_empty(world))


async def _is_empty(world: World) -> bool:
    return not await world.stream()


async def test_an_entry_of_others_in_a_stream_that_names_nobody_is_not_adopted(
    world: World, other: World, mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.worker.settlement.UNCLAIMED_SECONDS", 0.3)
    await (await world.owner()).drain_all()
    await forget_whose(world.redis)
    await world.redis.xadd(STREAM.name, {"file_id": "legacy"})

    async def given_on() -> bool:
        pending: Any = await world.redis.xpending(STREAM.name, STREAM.group)
        return bool(pending["consumers"] == [{"name": UNKNOWN, "pending": 1}])

    async with at_work(Consumer(_settings(other, mongodb_uri), _never)):
        await eventually(given_on)
    assert await other.states() == {}
    assert len(await world.stream()) == 1


async def test_what_stood_in_a_stream_before_it_named_anybody_is_left_until_somebody_frees_it(world: World) -> None:
    ward = Ward(world, await world.owner())
    [before] = await ward.publish("a")
    await forget_whose(world.redis)
    await ward.owner.drainer.close()
    await ward.owner.drain_all()
    [after] = await ward.publish("b")
    await world.database.outbox.delete_many({})
    entries = await ward.read()

    async def one_left() -> bool:
        await ward.rescue.abandoned(SOON)
        return await ward.held() == 1

    await eventually(one_left)
    assert [id_ for id_, _ in await world.stream()] == entries[:1]
    assert before != after


async def test_a_worker_ends_when_its_stream_was_taken_over(world: World, other: World, mongodb_uri: str) -> None:
    first, second = await world.owner(), await other.owner()
    await first.drain_all()
    consumer = Consumer(_settings(world, mongodb_uri), _never)
    work = asyncio.create_task(consumer.run())

    async def reads() -> bool:
        # Not by its name in the group: Redis 7.0 puts that down with the first entry.
        return any(client["cmd"] == "xreadgroup" for client in await world.redis.client_list())

    await eventually(reads)
    await Ownership(other.redis, other.ours).take_over(STREAM)
    await other.append("b")
    await second.drain_all()
    with pytest.raises(ForeignStream):
        await asyncio.wait_for(work, 30)
    assert len(await world.stream()) == 1
    pending: Any = await world.redis.xpending(STREAM.name, STREAM.group)
    assert pending["consumers"] == [{"name": consumer.name, "pending": 1}]  # for the other's workers to take over


async def test_what_was_discarded_is_acknowledged_in_a_stream_of_ones_own(world: World, mongodb_uri: str) -> None:
    first = await world.owner()
    await world.append("a")
    await first.drain_all()
    await world.database.outbox.delete_many({})

    async def gone() -> bool:
        return not await world.stream()

    async with at_work(Consumer(_settings(world, mongodb_uri), _never)):
        await eventually(gone)

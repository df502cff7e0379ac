"""What others do by hand to messages, streams and workers: it is named, and stops nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.delivery.entries import Entries
from outbox.delivery.evidence import judge
from outbox.errors import UsageError
from outbox.message.outcome import Found
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream
from outbox.worker import Consumer, Message
from outbox.worker.naming import new_name
from outbox.worker.rescue import Rescue
from tests.relay.world import World, a_world
from tests.waiting import eventually
from tests.worker.processes import at_work
from tests.worker.workshop import Workshop


async def test_a_message_that_somebody_has_edited_is_dead_and_stops_nobody(workshop: Workshop) -> None:
    edits: dict[str, Any] = {"text": {"fields": "x"}, "list": {"fields": ["x"]}, "headers": {"headers": "x"}}
    ids = await workshop.publish(*edits, "good")
    await workshop.world.database.command("collMod", "outbox", validationLevel="off")
    for id_, edit in zip(ids, edits.values(), strict=False):
        await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": edit})

    async def handle(message: Message) -> None:
        await workshop.world.settle(message.key)

    async with workshop.working(handle, concurrency=2):
        await eventually(lambda: workshop.in_state("completed", ids[-1]))
        await eventually(lambda: workshop.in_state("dead", *ids[:-1]))
        await eventually(workshop.all_acknowledged)
    for id_ in ids[:-1]:
        assert "changed around the outbox" in (await workshop.message(id_))["last_error"]
    assert (await workshop.parsing("list")).startswith("error: ")


def test_a_consumer_s_name_that_no_server_takes_is_refused() -> None:
    """The worker would end at each start, with the traceback of a driver."""
    with pytest.raises(UsageError, match="no UTF-8"):
        new_name("w\udcff")


@pytest.fixture
async def two_streams(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, redis: Redis, redis_url: str
) -> AsyncIterator[tuple[World, OutboxSettings]]:
    """Declared, and in Redis with their groups."""
    streams = [Stream(name, "workers", partitions=1) for name in ("first", "second")]
    declared = [{"name": one.name, "group": one.group, "partitions": 1, "subject": None} for one in streams]
    async with a_world(mongo, database, redis, streams) as world:
        for one in streams:
            await redis.xgroup_create(one.name, one.group, id="0", mkstream=True)
        settings = load(
            OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url,
            outbox_streams=declared,
        )  # fmt: skip
        yield world, settings


async def test_a_stream_that_redis_refuses_keeps_nobody_from_the_others(
    two_streams: tuple[World, OutboxSettings], redis: Redis
) -> None:
    _, settings = two_streams
    await redis.delete("first")
    await redis.set("first", "somebody else's")

    async def read(stream: str) -> bool:
        groups: Any = await redis.xinfo_groups(stream)
        return bool(groups[0]["entries-read"])

    async with at_work(Consumer(settings, _nothing, streams=["first", "second"])):
        await redis.xadd("second", _unknown())
        await eventually(lambda: read("second"))
        await redis.delete("first")
        await redis.xgroup_create("first", "workers", id="0", mkstream=True)
        await redis.xadd("first", _unknown())
        await eventually(lambda: read("first"))


async def _nothing(message: Message) -> None: ...


async def _published(world: World, stream: str, into: str) -> ObjectId:
    """A message of `stream`, with its entry in the stream `into`."""
    [id_] = await world.append(stream, stream=stream)
    await world.database.outbox.update_one({"_id": id_}, {"$set": {"state": "published", "attempts": 1}})
    await world.redis.xadd(into, {"message_id": str(id_), "attempt": "1"})
    return id_


def _unknown() -> dict[Any, Any]:
    """An entry of a message that is gone."""
    return {"message_id": str(ObjectId()), "attempt": "1"}


async def test_signs_of_life_for_other_streams_go_on(
    two_streams: tuple[World, OutboxSettings], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them, what is in flight would be taken over, and worked on twice."""
    monkeypatch.setattr("outbox.worker.pulse.Pulse._start", lambda self: None)  # which would give them as well
    world, settings = two_streams
    for stream in ("first", "second"):
        await _published(world, stream, stream)
    begun, end = set[str](), asyncio.Event()

    async def handle(message: Message) -> None:
        begun.add(message.stream)
        await end.wait()

    async with at_work(Consumer(settings, handle, streams=["first", "second"], silent_seconds=1.5)):
        await eventually(lambda: len(begun) == 2)
        await redis.delete("first")
        await redis.set("first", "somebody else's")
        since = time.monotonic()

        async def given_since() -> bool:
            elapsed = time.monotonic() - since
            found: Any = await redis.xpending_range("second", "workers", min="-", max="+", count=1)
            return bool(elapsed > 1 and found[0]["time_since_delivered"] < 1000 * (elapsed - 0.7))

        await eventually(given_since)
        await redis.delete("first")
        end.set()


async def test_an_entry_that_was_moved_to_another_stream_is_not_handled_there(
    two_streams: tuple[World, OutboxSettings], redis: Redis
) -> None:
    """As by RENAME, COPY or a script: that stream's handler does other work."""
    world, settings = two_streams
    id_ = await _published(world, "first", into="second")
    called: list[str] = []

    async def handle(message: Message) -> None:
        called.append(message.stream)

    async def removed() -> bool:
        return not await redis.xlen("second")

    async with at_work(Consumer(settings, handle, streams=["second"])):
        await eventually(removed)
    assert not called
    assert (await world.states())[id_] == "published"


async def test_an_entry_that_was_moved_and_acknowledged_completes_nothing(
    two_streams: tuple[World, OutboxSettings], redis: Redis
) -> None:
    world, _ = two_streams
    moved = await _published(world, "first", into="second")
    its_own = await _published(world, "second", into="second")
    read: Any = await redis.xreadgroup("workers", "others", {"second": ">"})
    await redis.xack("second", "workers", *(entry for entry, _ in read[0][1]))
    await judge(world.database, redis, world.streams["second"])
    states = await world.states()
    assert (states[moved], states[its_own]) == ("published", "completed")


async def test_an_entry_that_was_moved_is_not_rescued_there(
    two_streams: tuple[World, OutboxSettings], redis: Redis
) -> None:
    world, _ = two_streams
    id_ = await _published(world, "first", into="second")
    second = world.streams["second"]
    held = await Entries(redis, "others").read([second], 1)
    assert await Rescue(world.database, redis)._decide(second, held, "its worker is gone") == Found()
    assert (await world.states())[id_] == "published"
    assert not await redis.xlen("second")

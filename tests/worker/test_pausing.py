"""A paused stream: workers begin nothing of it, and give back what reaches them while the pause comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Stream
from outbox.database import Document
from outbox.operations import pausing
from outbox.settings import OutboxSettings, load
from outbox.streams import pauses
from outbox.worker import Consumer
from outbox.worker.claims import Claims
from outbox.worker.processing import Processing
from tests.relay.world import STREAM, World, a_world
from tests.waiting import eventually
from tests.worker.processes import at_work
from tests.worker.workshop import Workshop

NAME = STREAM.name
ORDERS = Stream("orders", "shop", partitions=1)


class Handling:
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def __call__(self, message: Any, session: Any) -> None:
        self.begun.append(message.key)
        await self.let_go.wait()
        files = session.client[message_database].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)


message_database = ""


@pytest.fixture
def handling(database: str) -> Handling:
    global message_database
    message_database = database
    return Handling()


async def publish(workshop: Workshop, *keys: str) -> list[Any]:
    """Published by a relay that has not noticed the pause yet."""
    return await workshop.publish(*keys)


async def paused(workshop: Workshop) -> None:
    await pausing.pause(workshop.world.database, NAME, who="anna")


async def resumed(workshop: Workshop) -> None:
    await pausing.resume(workshop.world.database, NAME, who="anna")


def knows(consumer: Consumer) -> bool:
    """Whether the consumer knows that something is paused."""
    return consumer.processing is not None and consumer.processing.pausing.any


def processing_of(consumer: Consumer) -> Processing:
    assert consumer.processing
    return consumer.processing


async def looked(consumer: Consumer) -> None:
    """The consumer knows what is paused now."""
    await processing_of(consumer).pausing.look()


async def test_nothing_of_a_paused_stream_is_begun_until_it_is_resumed(workshop: Workshop, handling: Handling) -> None:
    ids = await publish(workshop, "f1", "f2")
    await paused(workshop)
    async with workshop.working(handling) as consumer:
        await eventually(lambda: knows(consumer))
        assert await workshop.unacknowledged() == 0, "nothing was even read"
        await resumed(workshop)
        await eventually(lambda: workshop.in_state("completed", *ids), 3)
    assert sorted(handling.begun) == ["f1", "f2"]
    assert {(await workshop.message(id_))["attempts"] for id_ in ids} == {1}


async def test_what_is_in_a_handlers_hands_is_finished(workshop: Workshop, handling: Handling) -> None:
    (id_,) = await publish(workshop, "f1")
    handling.let_go.clear()
    async with workshop.working(handling) as consumer:
        await eventually(lambda: handling.begun)
        await paused(workshop)
        await looked(consumer)
        handling.let_go.set()
        await eventually(lambda: workshop.in_state("completed", id_))


async def test_what_is_read_while_the_pause_comes_is_given_back_and_costs_no_try(
    workshop: Workshop, handling: Handling
) -> None:
    (id_,) = await publish(workshop, "f1")
    await paused(workshop)
    async with workshop.working(handling) as consumer:
        await eventually(lambda: knows(consumer))
        processing = processing_of(consumer)
        (entry,) = await processing.entries.read([workshop.stream], 1)  # as if the read had begun before the pause
        working = processing.begin(entry)
        assert working
        await working
        assert await workshop.in_state("pending", id_)
    message = await workshop.message(id_)
    assert (message["returned"], message["forgiven"]) == (1, 1)
    assert handling.begun == []
    assert await workshop.parsing("f1") == "queued"


async def test_nothing_is_taken_over_in_a_paused_stream(workshop: Workshop, handling: Handling) -> None:
    (id_,) = await publish(workshop, "f1")
    await workshop.world.redis.xreadgroup(STREAM.group, "outbox:dead", {NAME: ">"})
    await paused(workshop)
    async with workshop.working(handling, silent_seconds=0.2) as consumer:
        await eventually(lambda: knows(consumer))

        async def silent() -> bool:
            (holder,) = await processing_of(consumer).entries.holders(workshop.stream)
            return holder.idle_seconds > 0.5

        await eventually(silent)
        processing = processing_of(consumer)
        [lane] = set(processing.lanes.values())
        claims = Claims(
            processing.entries, processing.hands, processing.pausing, processing.presence, silent_seconds=0.2
        )
        assert await claims.find(lane, 10) == []
        assert await workshop.in_state("published", id_)
        await resumed(workshop)
        await eventually(lambda: workshop.in_state("completed", id_), 5)


@pytest.fixture
async def two(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis, [STREAM, ORDERS]) as world:
        yield world


async def test_other_streams_go_on(two: World, mongodb_uri: str, redis_url: str, handling: Handling) -> None:
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=two.database.name, redis_url=redis_url)
    for stream in (STREAM, ORDERS):
        await two.redis.xgroup_create(stream.name, stream.group, id="0", mkstream=True)
    workshop = Workshop(two, await two.owner(), settings)
    await publish(workshop, "f1")
    await paused(workshop)
    async with at_work(Consumer(settings, handling, streams=[NAME, "orders"])) as consumer:
        await eventually(lambda: knows(consumer))
        await two.redis.xadd("orders", {"message_id": str(ObjectId()), "attempt": "1"})

        async def taken() -> bool:
            (group,) = await two.redis.xinfo_groups("orders")
            return bool(group["entries-read"])

        await eventually(taken)
        assert handling.begun == []
        assert (await pauses.read(two.database)).paused.keys() == {NAME}

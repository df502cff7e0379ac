"""What a worker has taken and not begun when the pause comes is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from outbox.operations import pausing
from outbox.worker import Consumer
from tests.waiting import eventually
from tests.worker.test_pausing import NAME, looked, processing_of
from tests.worker.workshop import Workshop


class Begun:
    """Handlers wait until they may end. `keys`: what was begun."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self.keys: list[str] = []
        self.let_go = asyncio.Event()

    async def one(self, message: Any, session: Any) -> None:
        await self.many([message], session)

    async def many(self, messages: Sequence[Any], session: Any) -> None:
        keys = [message.key for message in messages]
        self.keys += keys
        await self.let_go.wait()
        files = session.client[self._workshop.world.database.name].files
        await files.update_many({"_id": {"$in": keys}}, {"$set": {"parsing": "parsed"}}, session=session)


@pytest.fixture
async def begun(workshop: Workshop) -> AsyncIterator[Begun]:
    made = Begun(workshop)
    yield made
    made.let_go.set()


async def pause(workshop: Workshop, consumer: Consumer) -> None:
    await pausing.pause(workshop.world.database, NAME, who="anna")
    await looked(consumer)


async def holds(consumer: Consumer, count: int) -> None:
    await eventually(lambda: len(processing_of(consumer).hands) == count)


async def test_a_batch_that_waits_while_the_pause_comes_is_given_back(workshop: Workshop, begun: Begun) -> None:
    async def handle(messages: Sequence[Any], session: Any) -> None:
        await begun.many(messages, session)

    async with workshop.working(handle) as consumer:
        first = await workshop.publish("a", "b")
        await eventually(lambda: sorted(begun.keys) == ["a", "b"])
        waiting = await workshop.publish("c", "d", "e")
        await holds(consumer, 5)
        await pause(workshop, consumer)
        begun.let_go.set()
        await eventually(lambda: workshop.in_state("completed", *first))
        await eventually(lambda: workshop.in_state("pending", *waiting))
        assert sorted(begun.keys) == ["a", "b"]
        for id_ in waiting:
            message = await workshop.message(id_)
            assert (message["returned"], message["forgiven"]) == (1, 1)


async def test_what_waits_for_a_hand_while_the_pause_comes_is_given_back(workshop: Workshop, begun: Begun) -> None:
    """It was read ahead."""
    async with workshop.working(begun.one, concurrency=1) as consumer:
        [first] = await workshop.publish("a")
        await eventually(lambda: begun.keys == ["a"])
        [waiting] = await workshop.publish("b")
        processing = processing_of(consumer)
        [entry] = await processing.entries.read([workshop.stream], 1)
        assert processing.begin(entry)
        await eventually(lambda: processing.work.isolation._slots._waiters)
        await pause(workshop, consumer)
        begun.let_go.set()
        await eventually(lambda: workshop.in_state("completed", first))
        await eventually(lambda: workshop.in_state("pending", waiting))
        assert begun.keys == ["a"]

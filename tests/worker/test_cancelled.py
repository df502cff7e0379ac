"""When `Consumer.run` is cancelled, its handlers have ended before it does, and can still use what they were given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from outbox.worker import Consumer, Message
from tests.waiting import eventually
from tests.worker.workshop import Workshop


class Cleaning:
    """A handler of each form that has something to clean up, by its lifespan's resources and its session."""

    def __init__(self, workshop: Workshop) -> None:
        self._name = workshop.world.database.name
        self.events: list[str] = []

    @asynccontextmanager
    async def lifespan(self, client: Any) -> AsyncIterator[Any]:
        try:
            yield client[self._name].cleaned
        finally:
            self.events.append("lifespan ended")

    async def one(self, message: Message, session: Any, resources: Any) -> None:
        await self.many([message], session, resources)

    async def many(self, messages: Sequence[Message], session: Any, resources: Any) -> None:
        keys = [message.key for message in messages]
        written = session.client[self._name].files
        await written.update_many({"_id": {"$in": keys}}, {"$set": {"parsing": "parsed"}}, session=session)
        self.events.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)
            await resources.insert_one({})
            self.events.append("cleaned up")


@pytest.mark.parametrize("form", ["one", "many"])
async def test_a_cancelled_worker_ends_after_its_handlers(form: str, workshop: Workshop) -> None:
    cleaning = Cleaning(workshop)
    ids = await workshop.publish(*"abc"[: 1 if form == "one" else 3])
    consumer = Consumer(workshop.settings, getattr(cleaning, form), lifespan=cleaning.lifespan)
    running = asyncio.create_task(consumer.run())
    await eventually(lambda: cleaning.events)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cleaning.events == ["begun", "cleaned up", "lifespan ended"]
    assert await workshop.world.database.cleaned.count_documents({}) == 1
    assert await workshop.in_state("published", *ids)
    assert await workshop.parsing("a") == "queued"

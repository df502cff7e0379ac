"""Handlers that take many messages: one transaction for those that wait together, and one by one when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pymongo.client_session import ClientSession

from outbox.errors import UsageError
from outbox.worker import Consumer, Message
from tests.waiting import eventually
from tests.worker.workshop import Workshop

KEYS = [f"file {number}" for number in range(30)]


class Parsers:
    """Parses many files at a time, and leaves an effect for each."""

    def __init__(self, workshop: Workshop) -> None:
        self._name = workshop.world.database.name
        self._database = workshop.world.database
        self.calls: list[list[Message]] = []
        self.bad = ""
        self.work: asyncio.Event | None = None
        """Waited for before anything of a batch is written."""
        self.gate: asyncio.Event | None = None
        """Waited for when all of a batch is written, and its transaction is still open."""

    async def handle(self, messages: Sequence[Message], session: Any) -> None:
        self.calls.append([*messages])
        if self.work and len(messages) > 1:
            await self.work.wait()
        files, effects = session.client[self._name].files, session.client[self._name].effects
        await effects.insert_many([{"message": message.id} for message in messages], session=session)
        keys = [message.key for message in messages]
        await files.update_many({"_id": {"$in": keys}}, {"$set": {"parsing": "parsed"}}, session=session)
        if self.gate and len(messages) > 1:
            await self.gate.wait()
        if self.bad in keys:
            raise ValueError(f"{self.bad} cannot be read")

    def handle_plain(self, messages: Sequence[Message], session: ClientSession) -> None:
        self.calls.append([*messages])
        database = session.client[self._name]
        database.effects.insert_many([{"message": message.id} for message in messages], session=session)
        keys = [message.key for message in messages]
        database.files.update_many({"_id": {"$in": keys}}, {"$set": {"parsing": "parsed"}}, session=session)

    async def effects(self) -> list[Any]:
        return sorted([effect["message"] async for effect in self._database.effects.find()])


@pytest.fixture
def parsers(workshop: Workshop) -> Parsers:
    return Parsers(workshop)


@pytest.mark.parametrize("kind", ["handle", "handle_plain"])
async def test_messages_that_wait_together_are_one_transaction(kind: str, workshop: Workshop, parsers: Parsers) -> None:
    ids = await workshop.publish(*KEYS)
    handler: Callable[..., Any] = getattr(parsers, kind)
    async with workshop.working(handler):
        await eventually(lambda: workshop.in_state("completed", *ids))
        await eventually(workshop.all_acknowledged)
    assert await parsers.effects() == sorted(ids)
    assert len(parsers.calls) < len(KEYS) / 2
    assert {await workshop.parsing(key) for key in KEYS} == {"parsed"}


async def test_one_that_fails_costs_the_others_nothing(workshop: Workshop, parsers: Parsers) -> None:
    parsers.bad = "file 7"
    ids = dict(zip(KEYS, await workshop.publish(*KEYS), strict=True))
    bad = ids.pop(parsers.bad)
    async with workshop.working(parsers.handle):
        await eventually(lambda: workshop.in_state("completed", *ids.values()))
        await eventually(lambda: workshop.in_state("scheduled", bad))
        await eventually(workshop.all_acknowledged)
    assert await parsers.effects() == sorted(ids.values())
    failed = {key: (await workshop.message(id_)).get("failed") for key, id_ in ids.items()}
    assert set(failed.values()) == {None}
    message = await workshop.message(bad)
    assert (message["failed"], message["attempts"]) == (1, 1)
    assert "file 7 cannot be read" in message["last_error"]
    assert await workshop.parsing("file 7") == "queued"


async def test_one_that_was_completed_elsewhere_takes_nobody_with_it(workshop: Workshop, parsers: Parsers) -> None:
    parsers.work = asyncio.Event()
    ids = await workshop.publish(*KEYS)
    async with workshop.working(parsers.handle):
        await eventually(lambda: parsers.calls)
        done = {"state": "completed"}  # by another worker, before this batch's transaction begins
        await workshop.world.database.outbox.update_one({"_id": ids[3]}, {"$set": done})
        parsers.work.set()
        await eventually(lambda: workshop.in_state("completed", *ids))
        await eventually(workshop.all_acknowledged)
    assert await parsers.effects() == sorted({*ids} - {ids[3]})


async def test_a_stop_gives_a_batch_back_at_no_trys_cost(workshop: Workshop, parsers: Parsers) -> None:
    parsers.gate = asyncio.Event()
    ids = await workshop.publish(*KEYS[:5])
    async with workshop.working(parsers.handle, stop_seconds=0.1) as consumer:
        await eventually(lambda: parsers.calls)
        consumer.stop()
        await eventually(lambda: workshop.in_state("pending", *ids))
    for id_ in ids:
        message = await workshop.message(id_)
        assert (message["attempts"], message["forgiven"], message["returned"]) == (1, 1, 1)
    assert await parsers.effects() == []


def test_many_without_a_session_are_refused(workshop: Workshop) -> None:
    async def handle(messages: Sequence[Message]) -> None: ...

    with pytest.raises(UsageError, match="needs a session"):
        Consumer(workshop.settings, handle)

"""A handler that never ends: its time is limited, its attempt has failed, and others take its place."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from outbox.database import STREAMS
from outbox.worker import Consumer, Message, TooManyLeft
from tests.waiting import eventually
from tests.worker.workshop import Workshop

LIMIT = 5.0
"""Of which a busy machine may keep a handler that does nothing wrong for long; and one is named after half of it."""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.worker.hand.GRACE_SECONDS", 0.1)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


class Endless:
    """Handlers that never end by themselves for keys that begin with `endless`, and parse the others."""

    def __init__(self, workshop: Workshop, gate: threading.Event) -> None:
        self._name = workshop.world.database.name
        self._workshop = workshop
        self._gate = gate
        self.begun = 0
        self.cancelled = 0

    async def cancellable(self, message: Message, session: Any) -> None:
        await self._files(session).update_one({"_id": message.key}, _PARSED, session=session)
        if message.key.startswith("endless"):
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1

    async def stubborn(self, message: Message, session: Any) -> None:
        self.begun += 1
        await self._files(session).update_one({"_id": message.key}, _PARSED, session=session)
        while message.key.startswith("endless") and not self._gate.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                self.cancelled += 1

    def plain(self, message: Message, session: Any) -> None:
        self._files(session).update_one({"_id": message.key}, _PARSED, session=session)
        if message.key.startswith("endless"):
            self._gate.wait(60)

    def plain_alone(self, message: Message) -> None:
        if message.key.startswith("endless"):
            self._gate.wait(60)
        asyncio.run_coroutine_threadsafe(self._workshop.world.settle(message.key), self.loop).result()

    def _files(self, session: Any) -> Any:
        return session.client[self._name].files

    loop: asyncio.AbstractEventLoop


_PARSED = {"$set": {"parsing": "parsed"}}


@pytest.mark.parametrize("kind", ["cancellable", "stubborn", "plain", "plain_alone"])
async def test_its_attempt_has_failed_and_the_worker_goes_on(
    kind: str, workshop: Workshop, gate: threading.Event
) -> None:
    endless = Endless(workshop, gate)
    endless.loop = asyncio.get_running_loop()
    first = await workshop.publish("endless 1", "endless 2")
    with structlog.testing.capture_logs() as logs:
        async with workshop.working(getattr(endless, kind), concurrency=3, handler_seconds=LIMIT) as consumer:
            await eventually(lambda: workshop.in_state("scheduled", *first), 30)
            others = await workshop.publish("a", "b", "c", "d")
            await eventually(lambda: workshop.in_state("completed", *others))
            await eventually(workshop.all_acknowledged)
            assert consumer.left_handlers == (0 if kind == "cancellable" else 2)
            gate.set()
            await eventually(lambda: not consumer.left_handlers)
    for id_ in first:
        message = await workshop.message(id_)
        assert (message["failed"], message["attempts"], message["state"]) == (1, 1, "scheduled")
        assert f"still at work after {LIMIT:g} s" in message["last_error"]
        assert "handler_seconds" in message["last_error"]
    if kind != "plain_alone":
        assert await workshop.parsing("endless 1") == "queued"
    named = [entry for entry in logs if entry["event"] == "handler still at work"]
    assert {(entry["key"], entry["message"]) for entry in named} == {
        (f"endless {n}", str(id_)) for n, id_ in enumerate(first, 1)
    }


@pytest.mark.parametrize("kind", ["stubborn", "plain"])
async def test_a_worker_that_has_left_too_many_ends_for_its_supervisor(
    kind: str, workshop: Workshop, gate: threading.Event
) -> None:
    endless = Endless(workshop, gate)
    ids = await workshop.publish("endless 1", "endless 2", "a")
    consumer = Consumer(workshop.settings, getattr(endless, kind), concurrency=2, handler_seconds=LIMIT)
    with pytest.raises(TooManyLeft, match="2 handlers"):
        await asyncio.wait_for(consumer.run(), 90)
    assert await workshop.in_state("scheduled", *ids[:2])
    assert not await workshop.unacknowledged()


async def test_a_stop_does_not_wait_for_what_swallows_its_cancellation(
    workshop: Workshop, gate: threading.Event
) -> None:
    endless = Endless(workshop, gate)
    [id_] = await workshop.publish("endless")
    async with workshop.working(endless.stubborn, stop_seconds=0.1) as consumer:
        await eventually(lambda: endless.begun)
        consumer.stop()
        await eventually(lambda: workshop.in_state("pending", id_))
    assert consumer.left_handlers == 1
    assert (await workshop.message(id_))["forgiven"] == 1


async def test_the_limit_is_the_streams_unless_the_worker_has_its_own(workshop: Workshop) -> None:
    assert workshop.stream.handler_seconds == 3600
    registered = workshop.world.database[STREAMS]
    await registered.update_one({"_id": workshop.stream.name}, {"$set": {"handler_seconds": LIMIT}})

    async def endless(message: Message) -> None:
        await asyncio.Event().wait()

    [id_] = await workshop.publish("a")
    async with workshop.working(endless):
        await eventually(lambda: workshop.in_state("scheduled", id_), 30)
    async with workshop.working(endless, handler_seconds=0) as consumer:
        assert consumer.limit_of(workshop.stream) == 0


async def test_what_is_within_its_time_is_let_finish(workshop: Workshop) -> None:
    async def slow(message: Message) -> None:
        await asyncio.sleep(0.5)
        await workshop.world.settle(message.key)

    [id_] = await workshop.publish("a")
    async with workshop.working(slow, handler_seconds=30):
        await eventually(lambda: workshop.in_state("completed", id_))


async def test_what_was_read_ahead_does_not_wait_for_a_handler_that_hangs(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker gets it, at no try's cost."""
    monkeypatch.setattr("outbox.worker.settlement.SLOT_SECONDS", 0.2)
    gate = asyncio.Event()

    async def handle(message: Message, session: Any) -> None:
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, _PARSED, session=session)
        if message.key == "hangs":
            await gate.wait()

    await workshop.publish(*(f"file {number}" for number in range(20)), "hangs", *(f"more {n}" for n in range(5)))
    monkeypatch.setattr("outbox.worker.processing.AHEAD_SECONDS", 60)  # however slow the machine is
    async with workshop.working(handle, concurrency=1):
        given_back = {"state": "pending", "returned": 1, "forgiven": 1}
        await eventually(lambda: workshop.world.database.outbox.count_documents(given_back))
        gate.set()

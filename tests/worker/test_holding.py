"""Who holds an entry, and what becomes of those who hold it no more."""

from __future__ import annotations

import asyncio
import time

import pytest

from outbox.delivery.entries import OURS, Entries
from tests.waiting import eventually, pass_by, stays
from tests.worker.parser import Parser
from tests.worker.workshop import Workshop


async def test_two_with_the_same_entry_have_one_effect(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    parser.gate = asyncio.Event()
    other = Parser(workshop)
    async with workshop.working(parser):
        await eventually(lambda: parser.messages)
        await _hand_over(workshop, f"{OURS}other")
        async with workshop.working(other, name="other"):
            # The first one's transaction has written to the file: the second one waits, then finds it done.
            await eventually(lambda: other.messages)
            parser.gate.set()
            await eventually(workshop.all_acknowledged)
    assert await parser.effects() == [id_]
    assert await workshop.in_state("completed", id_)


async def test_a_long_handler_keeps_its_entry(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    parser.gate = asyncio.Event()
    other = Parser(workshop)
    other.gate = parser.gate
    silent = 2.5  # longer than a busy machine keeps both the workers and their second processes from their signs
    async with workshop.working(parser, silent_seconds=silent), workshop.working(other, silent_seconds=silent):
        await eventually(lambda: parser.messages or other.messages)
        [pending] = await workshop.world.redis.xpending_range(workshop.stream.name, workshop.stream.group, "-", "+", 1)
        holder = pending["consumer"]
        began = time.monotonic()

        async def is_kept() -> bool:
            [now] = await workshop.world.redis.xpending_range(workshop.stream.name, workshop.stream.group, "-", "+", 1)
            return bool(now["consumer"] == holder and int(now["time_since_delivered"]) < 1000 * silent)

        await stays(is_kept, 2.5 * silent)
        assert time.monotonic() - began > 2 * silent
        parser.gate.set()
        await eventually(lambda: workshop.in_state("completed", id_))
    assert len(parser.messages + other.messages) == 1


async def test_a_driver_that_swallows_a_cancellation_does_not_keep_a_consumer_from_stopping(
    workshop: Workshop, parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = asyncio.Event()

    async def swallow(*_: object) -> set[str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
        return set()

    monkeypatch.setattr(Entries, "beat", swallow)
    await workshop.publish("a")
    parser.gate = asyncio.Event()
    async with workshop.working(parser, silent_seconds=0.3):
        await eventually(lambda: parser.messages)
        await pass_by(0.3)  # a sign of life is under way by now
        parser.gate.set()
        await eventually(workshop.all_acknowledged)
    assert cancelled.is_set()


async def test_a_consumer_that_is_silent_loses_its_entries_to_another(workshop: Workshop, parser: Parser) -> None:
    ids = await workshop.publish("a", "b", "c")
    redis, stream = workshop.world.redis, workshop.stream
    await redis.xreadgroup(stream.group, f"{OURS}dead", {stream.name: ">"})  # and then it is killed
    async with workshop.working(parser, silent_seconds=0.3):
        await eventually(lambda: workshop.in_state("completed", *ids))
        await eventually(workshop.all_acknowledged)
    assert await parser.effects() == ids


async def test_nothing_is_taken_from_a_worker_that_knows_nothing_of_us(workshop: Workshop, parser: Parser) -> None:
    await workshop.publish("a")
    redis, stream = workshop.world.redis, workshop.stream
    await redis.xreadgroup(stream.group, "worker-1", {stream.name: ">"})
    async with workshop.working(parser, silent_seconds=0.2):
        await stays(lambda: _still_held(workshop, "worker-1"), 1)
    assert parser.messages == []


async def test_a_consumer_notices_that_its_entry_was_taken(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    parser.gate = asyncio.Event()
    async with workshop.working(parser, silent_seconds=0.3) as consumer:
        await eventually(lambda: parser.messages)
        await _hand_over(workshop, "thief")
        await eventually(lambda: not (consumer.processing and consumer.processing.hands))
        assert await _still_held(workshop, "thief")
    assert await parser.effects() == []
    assert await workshop.in_state("published", id_)


async def _hand_over(workshop: Workshop, consumer: str) -> None:
    """The one entry that is in somebody's hands is that consumer's."""
    redis, stream = workshop.world.redis, workshop.stream
    [pending] = await redis.xpending_range(stream.name, stream.group, "-", "+", 1)
    await redis.xclaim(stream.name, stream.group, consumer, 0, [str(pending["message_id"])])


async def _still_held(workshop: Workshop, consumer: str) -> bool:
    page = await workshop.world.redis.xpending_range(workshop.stream.name, workshop.stream.group, "-", "+", 10)
    return bool(page and all(pending["consumer"] == consumer for pending in page))

"""What was in flight when its worker died: tried alone, each take-over a try, and the innocent ones live."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from outbox.database import OUTBOX
from outbox.delivery.entries import OURS
from outbox.message import attempts
from outbox.message.document import Sent
from outbox.operations import dead
from outbox.worker import Consumer, Message
from outbox.worker.rescue import Rescue
from tests.faults.proxy import Proxy, Way
from tests.waiting import eventually, stays
from tests.worker.parser import Parser
from tests.worker.workshop import Workshop

SILENT = 0.3
OTHER = "another"
"""A worker of another make, from whom no worker takes anything over, however long it is silent."""


async def die_with(workshop: Workshop, name: str, count: int = 10) -> None:
    """A worker of ours takes up to `count` entries, and dies."""
    stream = workshop.stream
    await workshop.world.redis.xreadgroup(stream.group, f"{OURS}{name}", {stream.name: ">"}, count=count)


async def held_by(workshop: Workshop, name: str) -> list[str]:
    """The entries that one consumer holds."""
    found = await workshop.world.redis.xpending_range(
        workshop.stream.name, workshop.stream.group, "-", "+", 10, consumername=name
    )
    return [str(pending["message_id"]) for pending in found]


async def give(workshop: Workshop, holder: str, taker: str) -> None:
    """What `holder` holds was taken over by `taker`."""
    redis, stream = workshop.world.redis, workshop.stream
    entries: list[Any] = [*await held_by(workshop, holder)]
    await redis.xclaim(stream.name, stream.group, taker, 0, entries)


class Alone:
    """A handler that knows how many are at work beside it."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self.at_work: list[str] = []
        self.seen: dict[str, list[str]] = {}
        self.gates: dict[str, asyncio.Event] = {}

    async def __call__(self, message: Message) -> None:
        self.at_work.append(message.key)
        try:
            for key in self.at_work:
                self.seen[key] = sorted({*self.seen.get(key, []), *self.at_work})
            if gate := self.gates.get(message.key):
                await gate.wait()
            await asyncio.sleep(0.01)
            await self._workshop.world.settle(message.key)
        finally:
            self.at_work.remove(message.key)


async def test_what_was_in_flight_with_a_dead_worker_is_handled_alone(workshop: Workshop) -> None:
    handle = Alone(workshop)
    handle.gates = {"busy": asyncio.Event(), "a": asyncio.Event()}
    suspects = await workshop.publish("a", "b", "c")
    # However late the worker's first look is, "busy" is there first.
    redis, stream = workshop.world.redis, workshop.stream
    await redis.xreadgroup(stream.group, OTHER, {stream.name: ">"})
    [busy] = await workshop.publish("busy")
    async with workshop.working(handle, silent_seconds=SILENT) as consumer:
        await eventually(lambda: handle.at_work == ["busy"])
        await give(workshop, OTHER, f"{OURS}dead")
        await eventually(lambda: _holds(workshop, consumer.name, 2), what="a is taken over, beside busy")
        await stays(lambda: _is(handle.at_work == ["busy"]), 3 * SILENT)
        handle.gates["busy"].set()
        await eventually(lambda: handle.at_work == ["a"])
        others = await workshop.publish("d", "e")
        await stays(lambda: _is(handle.at_work == ["a"]), 3 * SILENT)
        await eventually(lambda: _holds(workshop, consumer.name, 1), what="busy is acknowledged")
        assert await workshop.unacknowledged() == 3  # nothing new was taken beside it
        handle.gates["a"].set()
        await eventually(lambda: workshop.in_state("completed", busy, *suspects, *others), 20)
    assert [handle.seen[key] for key in ("a", "b", "c")] == [["a"], ["b"], ["c"]]
    assert [(await workshop.message(id_))["taken_over"] for id_ in suspects] == [1, 1, 1]


async def _holds(workshop: Workshop, name: str, count: int) -> bool:
    return len(await held_by(workshop, name)) == count


async def _is(condition: bool) -> bool:
    return condition


async def test_each_take_over_counts_as_a_try_and_the_last_one_is_its_death(workshop: Workshop, parser: Parser) -> None:
    """Five tries: it was published once, and taken over four times."""

    def called(times: int) -> bool:
        return len(parser.messages) == times

    def let_go(consumer: Consumer) -> bool:
        return not (consumer.processing and consumer.processing.hands)

    [id_] = await workshop.publish("a")
    await die_with(workshop, "w1")
    for n in range(2, 6):
        parser.work = asyncio.Event()
        async with workshop.working(parser, silent_seconds=SILENT) as consumer:
            await eventually(partial(called, n - 1))
            message = await workshop.message(id_)
            assert (message["taken_over"], attempts.tries(1, message)) == (n - 1, n)
            await give(workshop, consumer.name, OTHER)
            await eventually(partial(let_go, consumer))
        await give(workshop, OTHER, f"{OURS}w{n}")  # this worker has gone, and cannot take it over again
    async with workshop.working(parser, silent_seconds=SILENT):
        await eventually(lambda: workshop.in_state("dead", id_))
    assert len(parser.messages) == 4
    reason = "given up after 5 tries: its worker died each time while it was in flight: "
    reason += ", ".join(f"{OURS}w{n}" for n in range(1, 6))
    assert (await workshop.message(id_))["last_error"] == reason
    assert await workshop.parsing("a") == f"error: {reason}"
    assert not await workshop.unacknowledged()

    # An operator gives it all its tries again, and it is still handled alone.
    await dead.retry(workshop.world.database, workshop.world.streams, id_)
    message = await workshop.message(id_)
    assert (attempts.tries(2, message), message["suspect"]) == (0, f"{OURS}w4")
    await workshop.owner.drain_all()
    parser.work = None
    async with workshop.working(parser):
        await eventually(lambda: workshop.in_state("completed", id_))


async def test_one_whose_tries_are_used_up_is_tried_alone_before_it_dies(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": {"state": "pending", "attempts": 4}})
    await workshop.owner.drain_all()
    await die_with(workshop, "dead")
    async with workshop.working(parser, silent_seconds=SILENT):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await parser.effects() == [id_]


async def test_a_repeated_record_counts_once(workshop: Workshop) -> None:
    [id_] = await workshop.publish("a")
    database, sent = workshop.world.database, Sent(id_, 1)
    assert await attempts.take_over(database, sent, "dead", "me")
    assert await attempts.take_over(database, sent, "dead", "me") is None
    assert (await workshop.message(id_))["taken_over"] == 1
    assert await attempts.take_over(database, sent, "dead", "another")
    assert await attempts.take_over(database, Sent(id_, 2), "dead", "late") is None


async def test_a_suspect_that_is_given_back_stays_one_and_has_lost_no_try(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    await die_with(workshop, "dead")
    parser.work = asyncio.Event()
    async with workshop.working(parser, silent_seconds=SILENT, stop_seconds=0.1) as consumer:
        await eventually(lambda: parser.messages)
        consumer.stop()
        await eventually(lambda: workshop.in_state("pending", id_))
    message = await workshop.message(id_)
    assert (attempts.tries(1, message), message["suspect"]) == (0, f"{OURS}dead")


async def test_a_failure_ends_the_suspicion(workshop: Workshop) -> None:
    async def breaks(message: Message) -> None:
        raise ValueError("no luck")

    [id_] = await workshop.publish("a")
    await die_with(workshop, "dead")
    async with workshop.working(breaks, silent_seconds=SILENT):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    message = await workshop.message(id_)
    assert "suspect" not in message
    assert attempts.tries(2, message) == 3


async def test_what_a_relay_rescues_from_a_dead_worker_is_suspect_and_not_charged(workshop: Workshop) -> None:
    ids = await workshop.publish("a", "b", "c")
    await die_with(workshop, "dead")
    rescue = Rescue(workshop.world.database, workshop.world.redis)
    handle = Alone(workshop)
    for _ in range(7):  # more often than it may be tried
        await eventually(lambda: _rescued(rescue, workshop))
        messages = [await workshop.message(id_) for id_ in ids]
        assert {(m["state"], m["suspect"], attempts.tries(m["attempts"], m)) for m in messages} == {
            ("pending", f"{OURS}dead", 0)
        }
        await workshop.owner.drain_all()
        await die_with(workshop, "dead")
    await eventually(lambda: _rescued(rescue, workshop))
    await workshop.owner.drain_all()
    async with workshop.working(handle, silent_seconds=SILENT):
        await eventually(lambda: workshop.in_state("completed", *ids))
    assert [handle.seen[key] for key in ("a", "b", "c")] == [["a"], ["b"], ["c"]]


async def _rescued(rescue: Rescue, workshop: Workshop) -> bool:
    found = await rescue.abandoned(replace(workshop.stream, rescue_seconds=0.01))
    return found.rescued == 3


async def test_what_a_lost_reply_gave_is_found_at_once_and_is_no_suspect(workshop: Workshop, parser: Parser) -> None:
    """It is held under the name of a worker that lives, and that knows nothing of it."""
    server = urlsplit(workshop.settings.redis_dsn)
    ids = await workshop.publish("a", "b", "c")
    async with Proxy((str(server.hostname), int(server.port or 0))) as proxy:
        lost = proxy.rule(Way.LOSE_THE_REPLY, b"XREADGROUP")
        url = server._replace(netloc=server.netloc.rpartition("@")[0] + proxy.address).geturl()
        settings = workshop.settings.model_copy(update={"redis_url": SecretStr(url)})
        behind = Workshop(workshop.world, workshop.owner, settings)
        # Nobody could wait until it counts as silent.
        async with behind.working(parser, name="me", silent_seconds=3600):
            await eventually(lambda: workshop.in_state("completed", *ids))
            await eventually(workshop.all_acknowledged)
    assert lost.picked == 1
    assert await parser.effects() == ids
    assert await workshop.world.database[OUTBOX].find_one({"taken_over": {"$exists": True}}) is None


async def test_what_this_name_held_before_is_suspect(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    await die_with(workshop, "me")
    async with workshop.working(parser, name="me"):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert (await workshop.message(id_))["taken_over"] == 1

"""Workers of one name, as replicas of one `--consumer` are, take over from each other after a silence only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from outbox.delivery.entries import OURS, Entries
from outbox.worker import Consumer, presence
from outbox.worker.claims import Claims
from outbox.worker.lane import Lane
from outbox.worker.presence import Presence
from outbox.worker.processing import Processing
from tests.waiting import eventually
from tests.worker.waiting_handler import Waiting
from tests.worker.workshop import Workshop


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is not written again while a test looks."""
    monkeypatch.setattr(presence, "EVERY_SECONDS", 60.0)


@contextmanager
def in_another_process(name: str = "another") -> Iterator[None]:
    """What is made meanwhile takes itself for another process, on another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence, "PROCESS", name)
        patch.setattr("socket.gethostname", lambda: name)
        yield


def processing_of(consumer: Consumer) -> Processing:
    assert consumer.processing
    return consumer.processing


def looked_for_claims(consumer: Consumer) -> bool:
    return consumer.processing is not None and all(lane.claims_at for lane in consumer.processing.lanes.values())


async def on_record(workshop: Workshop, host: str | None = None) -> bool:
    query = {"seen_at": {"$exists": True}, **({"host": host} if host else {})}
    return bool(await workshop.world.database["outbox_workers"].find_one(query))


def a_presence(workshop: Workshop, name: str = "one") -> Presence:
    return Presence(workshop.world.database, f"{OURS}{name}", [workshop.stream], {}, 10)


async def test_the_first_one_leaves_the_second_one_what_it_holds_after_a_lost_connection(
    workshop: Workshop, waiting: Waiting
) -> None:
    with capture_logs() as logs:
        await workshop.publish("f1")
        async with workshop.working(waiting, name="one", concurrency=2) as first:
            await eventually(lambda: waiting.calls == ["f1"])
            await eventually(lambda: on_record(workshop))
            # It reads nothing meanwhile, as if its hands were full: all of it is for the second one.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(processing_of(first), "_unsettled", 100)
                with in_another_process():
                    working = workshop.working(waiting, name="one", concurrency=2)
                    async with working as second:
                        await eventually(lambda: on_record(workshop, "another"))
                        await workshop.publish("f2")
                        await eventually(lambda: waiting.calls == ["f1", "f2"])
                        assert processing_of(second).presence.shared
                        patch.undo()
                        for lane in set(processing_of(first).lanes.values()):
                            lane.claims_at = 0.0
                        await workshop.world.redis.client_kill_filter(_type="normal", skipme=True)
                        processing_of(first).free.set()
                        await eventually(lambda: processing_of(first).presence.shared)
                        await workshop.publish("f3")  # they go on
                        await eventually(lambda: "f3" in waiting.calls)
                        assert sorted(waiting.calls) == ["f1", "f2", "f3"]
                        waiting.let_go.set()
    told = [entry for entry in logs if entry["event"] == "consumer name used twice"]
    assert len(told) == 2


async def test_one_that_starts_finds_one_that_has_just_started(workshop: Workshop, waiting: Waiting) -> None:
    """It has read, and written its record once: nothing else of it is known."""
    await workshop.publish("f1")
    async with workshop.working(waiting, name="one"):
        await eventually(lambda: waiting.calls == ["f1"])
        with in_another_process():
            async with workshop.working(waiting, name="one") as second:
                await eventually(lambda: looked_for_claims(second))
                assert processing_of(second).presence.shared
                waiting.let_go.set()
    assert waiting.calls == ["f1"]


async def test_of_two_that_start_at_the_same_time_both_find_the_other(workshop: Workshop) -> None:
    one = a_presence(workshop)
    with in_another_process():
        other = a_presence(workshop)
    await asyncio.gather(one.begin(), other.begin())
    assert one.shared or other.shared
    await one.record()
    await other.record()
    assert one.shared
    assert other.shared


async def test_what_the_second_one_is_given_after_the_first_has_asked_is_left_to_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries, first = Entries(workshop.world.redis, f"{OURS}one"), a_presence(workshop)
    claims = Claims(entries, {}, lambda _: False, first, silent_seconds=60)
    await first.begin()
    await workshop.publish("f1", "f2")
    [lost] = await entries.read([workshop.stream], 1)
    await asyncio.sleep(0.1)
    given = []
    looks = first.look

    async def look() -> None:
        await looks()
        with in_another_process():
            assert await a_presence(workshop).begin()
        given.extend(await entries.read([workshop.stream], 1))

    monkeypatch.setattr(first, "look", look)
    found = await claims.find(Lane((workshop.stream,)), 10)
    assert len(given) == 1
    assert [entry.id for entry in found] == [lost.id]


async def test_a_worker_alone_is_not_taken_for_two(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that was started again, with what the one before has left."""
    monkeypatch.setattr(presence, "LATELY", 600)
    one = a_presence(workshop)
    await one.begin()
    await one.record()
    await one.look()
    again = a_presence(workshop)
    await again.begin()
    await again.record()
    assert not one.shared
    assert not again.shared


async def test_who_leaves_takes_the_record_of_nobody_else_away(workshop: Workshop) -> None:
    one = a_presence(workshop)
    with in_another_process():
        other = a_presence(workshop)
    await one.begin()
    await other.begin()
    ended = asyncio.Event()
    ended.set()
    await one.keep(ended)
    assert await on_record(workshop, "another")
    await other.keep(ended)
    assert not await on_record(workshop)


async def test_where_there_are_no_records_nobody_is_taken_for_two(workshop: Workshop) -> None:
    await workshop.world.database["outbox_workers"].drop()
    one = a_presence(workshop)
    assert await one.begin()
    await one.look()
    assert not one.shared


async def test_what_a_dead_one_holds_behind_deleted_entries_is_taken_over_at_once(workshop: Workshop) -> None:
    redis = workshop.world.redis
    await workshop.publish("f1", "f2", "f3")
    first, second, third = await Entries(redis, f"{OURS}dead").read([workshop.stream], 3)
    await redis.xdel(workshop.stream.key, first.id, second.id)
    await asyncio.sleep(0.2)
    claims = Claims(Entries(redis, f"{OURS}one"), {}, lambda _: False, a_presence(workshop), silent_seconds=0.1)
    found = await claims.find(Lane((workshop.stream,)), 10)
    assert [(entry.id, entry.suspect) for entry in found] == [(third.id, f"{OURS}dead")]

"""How a relay learns that a stream is paused or goes on, and how seldom it asks."""

from __future__ import annotations

import asyncio
import time

import pytest
from pymongo.errors import AutoReconnect

from outbox.database import Database
from outbox.operations import pausing
from outbox.streams import pauses
from outbox_relay.drained import Outcome
from outbox_relay.pausing import FRESH_SECONDS, Pausing
from tests.relay.world import STREAM, World
from tests.waiting import eventually

NAME = STREAM.name


async def test_the_look_wakes_the_drainers_when_a_stream_goes_on(world: World) -> None:
    woken: list[int] = []
    looking = Pausing(world.database, world.streams, lambda: woken.append(1))
    assert (await looking.run_once()).paused == 0
    await pausing.pause(world.database, NAME, who="anna")
    await looking.fresh()
    assert (await looking.run_once()).paused == 1
    assert "is paused" in looking.warnings()[0]
    assert not woken
    await pausing.resume(world.database, NAME, who="anna")
    assert (await looking.run_once()).paused == 0, "without being asked: what is paused waits for it"
    assert woken == [1]
    assert looking.warnings() == []


async def test_what_is_published_after_a_rest_waits_for_a_look(world: World) -> None:
    looking = Pausing(world.database, world.streams, lambda: None)
    owner = await world.owner(know_pauses=looking.fresh)
    await owner.drain_all()
    await looking.run_once()
    looking._as_of -= FRESH_SECONDS
    await pausing.pause(world.database, NAME, who="anna")
    await world.append("f1")
    assert (await owner.drain()).outcome is Outcome.PAUSED
    assert await world.entries() == []
    await pausing.resume(world.database, NAME, who="anna")
    looking._as_of -= FRESH_SECONDS
    assert (await owner.drain()).published == 1


async def test_a_look_that_is_fresh_enough_is_not_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = Pausing(world.database, world.streams, lambda: None)
    looks = 0
    read = pauses.read

    async def counted(database: Database) -> pauses.Pauses:
        nonlocal looks
        looks += 1
        return await read(database)

    monkeypatch.setattr(pauses, "read", counted)
    monkeypatch.setattr("outbox_relay.pausing.FRESH_SECONDS", 3600.0)  # however long the one look takes
    looking._as_of = -3600.0
    await asyncio.gather(*(looking.fresh() for _ in range(5)))
    assert looks == 1


async def test_who_publishes_nothing_does_not_look_but_learns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = Pausing(world.database, world.streams, lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(pauses, "read", _failing)
        with pytest.raises(AutoReconnect):
            await looking.run_once()
    await looking.run_once()  # at once: who has failed says as soon as possible that all is well
    resting = asyncio.create_task(looking.run_once())
    await eventually(lambda: bool(looking._wanted._waiters))
    before = time.monotonic()
    await pausing.pause(world.database, NAME, who="anna")
    found = await pauses.read(world.database)
    looking.learn(pauses.Pauses(), time.monotonic())
    looking.learn(found, before)
    assert not looking.warnings(), "what is known is newer"
    looking.learn(found, time.monotonic())
    assert (await resting).paused == 1
    assert looking.warnings()


async def _failing(*_: object) -> pauses.Pauses:
    raise AutoReconnect("gone")

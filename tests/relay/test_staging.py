"""Scheduled messages become pending in time, also while a relay rests until then."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo.errors import AutoReconnect

from outbox.database import OUTBOX
from outbox.operations import upkeep
from outbox.protocol import changes
from outbox_relay import staging
from outbox_relay.staging import Staging
from outbox_relay.tail import Tail
from outbox_relay.wakeup import Hints
from tests.relay.world import World
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who goes on has been woken."""
    monkeypatch.setattr(staging, "HINTED_SECONDS", 3600.0)


async def schedule(world: World, seconds: Any) -> None:
    [message] = await world.append("f1")
    at = datetime.now(UTC) + timedelta(seconds=seconds) if isinstance(seconds, float | int) else seconds
    change = {"$set": {"state": "scheduled", "available_at": at}}
    await world.database[OUTBOX].update_one({"_id": message}, change, bypass_document_validation=True)


async def test_what_is_due_is_staged_and_what_comes_later_is_not(world: World) -> None:
    await schedule(world, -1)
    await schedule(world, 3600)
    staging = Staging(world.database, lambda: False, seconds=1)
    assert (await staging.run_once()).count == 1
    assert (await staging.run_once()).count == 0
    assert sorted((await world.states()).values()) == ["pending", "scheduled"]


async def test_it_rests_until_shortly_before_something_is_due_and_looks_often_without_hints(world: World) -> None:
    staging = Staging(world.database, lambda: True, seconds=1)
    await staging.run_once()
    assert staging._rest == 3600
    await schedule(world, 1000)
    staging.look_again()
    await staging.run_once()
    assert 0 < staging._rest < 1000
    staging._hinted = lambda: False
    await asyncio.wait_for(staging.run_once(), 30)


@pytest.mark.parametrize("inserted", [True, False], ids=["inserted", "put back"])
async def test_a_change_stream_shows_what_is_scheduled_meanwhile(world: World, inserted: bool) -> None:
    if not inserted:
        await world.append("f1")
    looks: list[int] = []
    woken: list[object] = []
    tail = Tail(woken.append, lambda: looks.append(1))
    hints = Hints(lambda: changes.pending(world.database), tail.show, closed=tail.end)
    await hints.run_once()
    assert looks, "something may have been scheduled before it was open"
    looks.clear()
    woken.clear()
    messages = world.database[OUTBOX]
    if inserted:
        await messages.insert_one({"state": "scheduled"}, bypass_document_validation=True)
    else:
        await messages.update_one({}, {"$set": {"state": "scheduled"}}, bypass_document_validation=True)
    while not looks:  # the append may be shown before
        await asyncio.wait_for(hints.run_once(), 20)
    assert woken == [set()] or not inserted, "nobody has anything to publish"


async def test_a_hint_ends_a_rest(world: World) -> None:
    staging = Staging(world.database, lambda: True, seconds=1)
    await staging.run_once()
    resting = asyncio.create_task(staging.run_once())
    await eventually(lambda: bool(staging._changed._waiters))
    await schedule(world, -1)
    staging.look_again()
    assert (await asyncio.wait_for(resting, 20)).count == 1


async def test_a_time_that_python_does_not_have_and_a_list_of_times_stop_nothing(world: World) -> None:
    await schedule(world, DatetimeMS(2**62))
    assert (await upkeep.until_due(world.database) or 0) > 1e12
    await schedule(world, [datetime.now(UTC)])
    assert await upkeep.until_due(world.database) == 0
    await schedule(world, DatetimeMS(-(2**63)))
    assert (await upkeep.until_due(world.database) or 0) < 0


async def test_after_an_error_it_looks_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = Staging(world.database, lambda: True, seconds=1)
    await staging.run_once()
    staging.look_again()

    async def failing(_: object) -> float:
        raise AutoReconnect("gone")

    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "until_due", failing)
        with pytest.raises(AutoReconnect):
            await staging.run_once()
    assert (await asyncio.wait_for(staging.run_once(), 30)).count == 0

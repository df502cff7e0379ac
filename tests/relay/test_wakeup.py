"""Hints save waiting; the sweep is what finds everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from bson import Timestamp

from outbox.database import OUTBOX
from outbox.protocol import changes
from outbox.protocol.changes import Begun, Change
from outbox_relay import wakeup
from outbox_relay.ahead import BATCHES
from outbox_relay.busy import PASSES, Busy
from outbox_relay.drained import Drained, Outcome
from outbox_relay.wakeup import Hints, Sweep
from tests.relay.world import PARTITION, STREAM, World


async def test_the_sweep_wakes_while_anything_is_pending(world: World) -> None:
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    sweep = Sweep(world.store, wake)
    assert not (await sweep.run_once()).pending
    await world.append("f1")
    assert (await sweep.run_once()).pending
    assert woken == 1
    await (await world.owner()).drain_all()
    assert not (await sweep.run_once()).pending


async def test_a_commit_is_hinted_with_its_partition(world: World) -> None:
    told: list[object] = []
    hints = Hints(lambda: changes.pending(world.database), _where(told))
    await hints.run_once()
    assert told == [None]  # it is open now; what was before has to be looked for
    await world.append("f1")
    await asyncio.wait_for(hints.run_once(), 30)
    assert told[1:] == [{PARTITION}]


async def test_a_message_put_back_is_hinted_without_its_partition(world: World) -> None:
    await world.append("f1")
    await (await world.owner()).drain_all()
    told: list[object] = []
    hints = Hints(lambda: changes.pending(world.database), _where(told))
    await hints.run_once()
    await world.database[OUTBOX].update_many({}, {"$set": {"state": "pending"}})
    await asyncio.wait_for(hints.run_once(), 30)
    assert told[1:] == [{None}]


async def test_what_is_not_pending_is_not_hinted(world: World) -> None:
    told: list[object] = []
    hints = Hints(lambda: changes.pending(world.database), _where(told))
    await hints.run_once()
    odd = {"_id": 1, "stream": STREAM.name, "partition": "odd", "state": "pending", "position": Timestamp(1, 1)}
    await world.database[OUTBOX].insert_one({**odd, "_id": 0, "state": "dead"}, bypass_document_validation=True)
    await world.database[OUTBOX].insert_one(odd, bypass_document_validation=True)
    await asyncio.wait_for(hints.run_once(), 30)
    assert told[1:] == [{None}]  # of the second one only, and it does not say where


async def test_hints_rest_during_a_backlog_and_tell_to_look_everywhere_after_it(world: World) -> None:
    told: list[object] = []
    busy = Busy()
    hints = Hints(lambda: changes.pending(world.database), _where(told), busy)
    await hints.run_once()
    waiting = asyncio.create_task(hints.run_once())
    assert not (await asyncio.wait({waiting}, timeout=0.1))[0]
    for _ in range(PASSES):
        await busy.watch(PARTITION, _passes(Drained(Outcome.MORE)))
    assert (await asyncio.wait_for(waiting, 30)).works
    await world.append("f1")
    await asyncio.wait_for(hints.run_once(), 30)
    assert told == [None, None]  # by time alone, and not where
    await busy.watch(PARTITION, _passes(Drained(Outcome.EMPTY)))
    await asyncio.wait_for(hints.run_once(), 30)
    await world.append("f1")
    await asyncio.wait_for(hints.run_once(), 30)
    assert told[2:] == [None, {PARTITION}]


async def test_more_than_one_fetch_brings_is_a_backlog_at_once(world: World) -> None:
    busy = Busy()
    await busy.watch(PARTITION, _passes(Drained(Outcome.MORE)))
    assert not busy.begun.is_set()
    await busy.watch(PARTITION, _passes(Drained(Outcome.MORE, backlog=True)))
    assert busy.begun.is_set()
    await busy.watch(PARTITION, _passes(Drained(Outcome.EMPTY)))
    assert busy.over.is_set()
    await busy.watch(PARTITION, _passes(Drained(Outcome.MORE, backlog=True)))
    assert busy.begun.is_set()


async def test_hints_that_nobody_needs_during_a_backlog_are_silent(world: World) -> None:
    """Leases are renewed often enough: each renewal beside them is a write that MongoDB has to confirm."""
    heard: list[object] = []
    busy = Busy()
    hints = Hints(lambda: changes.relays(world.database), heard.append, busy, look=False)
    await busy.watch(PARTITION, _passes(Drained(Outcome.MORE, backlog=True)))
    await hints.run_once()
    assert heard == []
    await busy.watch(PARTITION, _passes(Drained(Outcome.EMPTY)))
    await asyncio.wait_for(hints.run_once(), 30)
    assert heard == [None]


async def test_a_backlog_shows_in_the_first_pass(world: World) -> None:
    await world.append(*(f"f{number}" for number in range(2 * BATCHES)))
    owner = await world.owner(relay_batch_size=1)
    assert (await owner.drain()).backlog
    await owner.drain_all()
    assert not (await owner.drain()).backlog


async def test_a_pass_that_fails_is_no_backlog(world: World) -> None:
    busy = Busy()
    for _ in range(PASSES):
        await busy.watch(PARTITION, _passes(Drained(Outcome.MORE)))
    assert busy.begun.is_set()

    async def fails() -> Drained:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await busy.watch(PARTITION, fails)
    assert busy.over.is_set()
    assert not busy.begun.is_set()


async def test_a_partition_that_is_given_up_in_a_backlog_is_none_any_more() -> None:
    busy = Busy()
    await busy.watch(PARTITION, _passes(Drained(Outcome.MORE, backlog=True)))
    busy.leave(PARTITION)
    assert busy.over.is_set()
    assert not busy.begun.is_set()


def _where(told: list[object]) -> Callable[[Begun | Sequence[Change] | None], None]:
    """Puts down where messages were shown to be pending, and None when everywhere is to be looked at."""

    def notify(seen: Begun | Sequence[Change] | None) -> None:
        told.append(None if seen is None or isinstance(seen, Begun) else {change.partition for change in seen})

    return notify


def _passes(result: Drained) -> Callable[[], Awaitable[Drained]]:
    async def run_once() -> Drained:
        return result

    return run_once


async def test_a_sweep_is_seldom_while_hints_come_and_at_once_when_they_do_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "AGAIN_SECONDS", 3600.0)
    woken: list[None] = []
    hinted = True
    sweep = Sweep(world.store, lambda: woken.append(None), lambda: hinted)
    await world.append("f1")
    assert (await sweep.run_once()).pending
    assert not (await sweep.run_once()).pending
    assert not woken
    hinted = False
    assert (await sweep.run_once()).pending
    assert len(woken) == 1


async def test_beside_hints_a_sweep_wakes_only_for_what_stays_pending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(wakeup, "HINTED_SECONDS", 0.0)
    woken: list[None] = []
    sweep = Sweep(world.store, lambda: woken.append(None), lambda: True)
    await world.append("f1")
    assert (await sweep.run_once()).pending
    await (await world.owner()).drain_all()
    await world.append("f2")  # after the first look: on its way, as far as anybody knows
    assert not (await sweep.run_once()).pending
    assert (await sweep.run_once()).pending
    assert not woken
    assert (await sweep.run_once()).pending
    assert len(woken) == 1

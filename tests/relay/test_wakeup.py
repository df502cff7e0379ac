"""Hints save waiting; the sweep is what finds everything."""

from __future__ import annotations

import asyncio

from bson import Timestamp

from outbox import changes
from outbox.schema import OUTBOX
from outbox.streams import Partition
from relay.wakeup import Hints, Sweep
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
    told: list[set[Partition] | None] = []
    hints = Hints(lambda: changes.pending_partitions(world.database), told.append)
    await hints.run_once()
    assert told == [None]  # it is open now; what was before has to be looked for
    await world.append("f1")
    await asyncio.wait_for(hints.run_once(), 5)
    assert told[1:] == [{PARTITION}]


async def test_a_message_put_back_is_hinted_without_its_partition(world: World) -> None:
    await world.append("f1")
    await (await world.owner()).drain_all()
    told: list[set[Partition] | None] = []
    hints = Hints(lambda: changes.pending_partitions(world.database), told.append)
    await hints.run_once()
    await world.database[OUTBOX].update_many({}, {"$set": {"state": "pending"}})
    await asyncio.wait_for(hints.run_once(), 5)
    assert told[1:] == [None]


async def test_what_is_not_pending_is_not_hinted(world: World) -> None:
    told: list[set[Partition] | None] = []
    hints = Hints(lambda: changes.pending_partitions(world.database), told.append)
    await hints.run_once()
    odd = {"_id": 1, "stream": STREAM.name, "partition": "odd", "state": "pending", "position": Timestamp(1, 1)}
    await world.database[OUTBOX].insert_one({**odd, "_id": 0, "state": "dead"}, bypass_document_validation=True)
    await world.database[OUTBOX].insert_one(odd, bypass_document_validation=True)
    await asyncio.wait_for(hints.run_once(), 5)
    assert told[1:] == [None]  # of the second one only, and it does not say where

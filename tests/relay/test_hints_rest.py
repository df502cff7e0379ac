"""When the change stream is closed: in a backlog at once, and not while a partition waits for its workers."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from pymongo.read_concern import ReadConcern

from outbox.database import Document
from outbox.protocol import changes
from outbox_relay.busy import PASSES, Busy
from outbox_relay.drained import Drained, Outcome
from outbox_relay.wakeup import Hints
from tests.relay.world import PARTITION, World
from tests.waiting import eventually


async def open_cursors(world: World) -> int:
    """Change streams over this test's messages, as MongoDB knows them."""
    stages: list[Document] = [
        {"$currentOp": {"idleCursors": True, "allUsers": False}},
        {"$match": {"ns": f"{world.database.name}.outbox", "cursor.tailable": True}},
    ]
    admin = world.client.admin.with_options(read_concern=ReadConcern("local"))
    return len([one async for one in await admin.aggregate(stages)])


async def test_a_backlog_that_begins_between_two_passes_closes_the_stream(world: World) -> None:
    """Nobody would read it, and all that rely on it would rest; after the backlog it would show all of that first."""
    closed: list[None] = []
    busy = Busy()
    hints = Hints(lambda: changes.pending(world.database), lambda _: None, busy, lambda: closed.append(None))
    await hints.run_once()
    assert await open_cursors(world) == 1
    busy.backlog(PARTITION)
    resting = asyncio.create_task(hints.run_once())
    await eventually(lambda: closed, 5)
    assert not hints.working()
    await resting
    assert len(closed) == 1

    async def gone() -> bool:
        return not await open_cursors(world)

    await eventually(gone, 5)


async def ends(busy: Busy, outcome: Outcome, *, backlog: bool = False) -> None:
    async def run_once() -> Drained:
        return Drained(outcome, backlog=backlog)

    await busy.watch(PARTITION, run_once)


@pytest.mark.parametrize("held_up", [Outcome.FULL, Outcome.BLOCKED])
async def test_a_partition_that_waits_is_no_backlog_until_nothing_is_left(held_up: Outcome) -> None:
    busy = Busy()
    more = partial(ends, busy, Outcome.MORE, backlog=True)
    await more()
    assert busy.begun.is_set()
    for _ in range(3):
        await ends(busy, held_up)
        for _ in range(PASSES):
            await more()
            assert not busy.begun.is_set()
    await ends(busy, Outcome.EMPTY)
    await more()
    assert busy.begun.is_set()


async def test_who_takes_a_partition_again_knows_nothing_of_what_it_waited_for() -> None:
    busy = Busy()
    await ends(busy, Outcome.FULL)
    busy.leave(PARTITION)
    await ends(busy, Outcome.MORE, backlog=True)
    assert busy.begun.is_set()

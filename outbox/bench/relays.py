"""Relays at work on a ground, and how fast they are."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from outbox.bench.backlog import until_drained
from outbox.bench.ground import Ground
from outbox.database import PARTITIONS, RELAYS

START_SECONDS = 1.0
"""From when a relay is on the list until it has done all that it does once: several share the processors with it."""

_BENCH = "bench"


async def fresh(ground: Ground, *, partitions: int = 4) -> None:
    """An empty outbox whose partitions a relay has opened: what happens once in their life is not to be measured."""
    await ground.clear(partitions=partitions)
    with ground.relay():
        while await ground.database[PARTITIONS].find_one({"batch": 0}):
            await ground.look_again()


async def drained(ground: Ground, count: int, *, relays: int = 1, **environment: object) -> float:
    """Messages a second: `count` pending ones drained by new relays, from when they may begin until none is pending.

    The bench holds all partitions until the relays run, so that their start is not counted. Then each takes its share.
    """
    partitions = ground.database[PARTITIONS]
    entries = count + await ground.redis.xlen(ground.stream.key)
    later = datetime.now(UTC) + timedelta(days=1)
    await partitions.update_many({}, {"$set": {"owner": _BENCH, "expires_at": later}})
    with ExitStack() as stack:
        for _ in range(relays):
            stack.enter_context(ground.relay(**environment))
        while await ground.database[RELAYS].count_documents({"expires_at": {"$ne": None}}) < relays:
            await ground.look_again()
        await asyncio.sleep(START_SECONDS)
        started = time.perf_counter()
        await partitions.update_many({}, {"$set": {"owner": None, "expires_at": None}})
        await _look_around(ground)
        await until_drained(ground, entries)
        return count / (time.perf_counter() - started)


async def shared(ground: Ground) -> None:
    """Return when every partition has an owner."""
    while await ground.database[PARTITIONS].find_one({"owner": None}):
        await ground.look_again()


async def _look_around(ground: Ground) -> None:
    """Make the relays look for free partitions, as when another relay leaves, until they have taken them all."""
    relays = ground.database[RELAYS]
    while await ground.database[PARTITIONS].find_one({"owner": None}):
        await relays.insert_one({"_id": _BENCH, "expires_at": None})
        await relays.delete_one({"_id": _BENCH})
        await ground.look_again()

"""`recover`: how long after Redis's return, and after Redis lost everything, until all is as it should be."""

from __future__ import annotations

import asyncio
import time

from outbox.bench.backlog import documents_of, fill, lengths, until_drained
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import drained, fresh, shared
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.database import OUTBOX
from outbox.embedded import RedisServer
from outbox.message.document import State

APPENDED_A_SECOND = 50
VERIFY = Limit("OUTBOX_RELAY_VERIFY_SECONDS", 1.5)


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    count = extent.messages
    tell(f"{count:,} messages drained without an outage, to compare")
    await fresh(ground)
    await fill(ground, count)
    rate = await drained(ground, count)
    undisturbed = Limit("without outage", count / rate)
    figures = []
    await ground.clear()
    with ground.relay():
        await shared(ground)
        if ground.server is None:
            await fill(ground, count)
            await until_drained(ground, count)
        else:
            tell(f"Redis away, {count:,} messages waiting")
            figures += await _outage(ground, ground.server, extent, undisturbed)
        tell(f"Redis loses {count:,} entries")
        figures += await _loss(ground, extent, undisturbed, Limit("drain", rate))
        tell(f"Redis loses {count:,} entries while others are added")
        figures += await _loss_while_published(ground)
    return figures


async def _outage(ground: Ground, server: RedisServer, extent: Extent, undisturbed: Limit) -> list[Figure]:
    count = extent.messages
    await asyncio.to_thread(server.stop)
    went = time.perf_counter()
    await fill(ground, count)
    await asyncio.sleep(max(0.0, went + extent.outage_seconds - time.perf_counter()))
    starts = time.perf_counter()
    await asyncio.to_thread(server.start)
    back = time.perf_counter()
    await ground.redis.aclose()  # connections to the server that was; the next command makes a new one
    async for length in lengths(ground):
        if length:
            break
    first = time.perf_counter() - back
    await until_drained(ground, count)
    empty = time.perf_counter() - back
    return [
        Figure("recover", "Redis returns: first entry", first, "s", (Limit("Redis's own start", back - starts),)),
        Figure("recover", f"Redis returns: {count:,} drained", empty, "s", (undisturbed,)),
    ]


async def _loss(ground: Ground, extent: Extent, undisturbed: Limit, drain: Limit) -> list[Figure]:
    count = extent.messages
    lost = time.perf_counter()
    await ground.forget()
    await _noticed(ground)
    noticed = time.perf_counter() - lost
    await until_drained(ground, count)
    back = time.perf_counter() - lost
    return [
        Figure("recover", "all lost: noticed while idle", noticed, "s", (VERIFY,)),
        Figure("recover", f"all lost: {count:,} back", back, "s", (undisturbed,)),
        Figure("recover", "all lost: back", count / back, "messages/s", (drain,)),
    ]


async def _loss_while_published(ground: Ground) -> list[Figure]:
    """The relay is stopped before it has taken everything back."""
    messages = ground.database[OUTBOX]

    async def append() -> None:
        while True:
            await messages.insert_many(documents_of(ground, 1))
            await asyncio.sleep(1 / APPENDED_A_SECOND)

    appending = asyncio.create_task(append())
    try:
        await asyncio.sleep(1)
        lost = time.perf_counter()
        await ground.forget()
        await _noticed(ground)
        noticed = time.perf_counter() - lost
    finally:
        appending.cancel()
        await asyncio.wait([appending])
    return [Figure("recover", "all lost: noticed while published", noticed, "s", (VERIFY,))]


async def _noticed(ground: Ground) -> None:
    """Return when the first lost message is pending again."""
    again = {"state": State.PENDING.value, "recovered": {"$gt": 0}}
    while not await ground.database[OUTBOX].find_one(again, {"_id": 1}, hint="pending"):
        await ground.look_again()

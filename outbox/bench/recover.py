"""`recover`: how long after Redis's return, and after Redis lost everything, until all is as it should be."""

from __future__ import annotations

import asyncio
import time

from outbox.bench.backlog import fill, lengths, until_drained
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import drained, fresh, shared
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.embedded import RedisServer
from outbox.protocol.store import Store


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    count = extent.messages
    tell(f"{count:,} messages drained without an outage, to compare")
    await fresh(ground)
    await fill(ground, count)
    undisturbed = Limit("without outage", count / await drained(ground, count))
    figures = []
    await ground.clear()
    with ground.relay(OUTBOX_RELAY_VERIFY_SECONDS=extent.verify_seconds):
        await shared(ground)
        if ground.server is None:
            await fill(ground, count)
            await until_drained(ground, count)
        else:
            tell(f"Redis away, {count:,} messages waiting")
            figures += await _outage(ground, ground.server, extent, undisturbed)
        tell(f"Redis loses {count:,} entries")
        figures += await _loss(ground, extent, undisturbed)
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


async def _loss(ground: Ground, extent: Extent, undisturbed: Limit) -> list[Figure]:
    count = extent.messages
    store = Store(ground.database)
    lost = time.perf_counter()
    await ground.forget()
    while not await store.any_pending():
        await ground.look_again()
    noticed = time.perf_counter() - lost
    await until_drained(ground, count)
    back = time.perf_counter() - lost
    return [
        Figure(
            "recover", "all lost: noticed", noticed, "s", (Limit("OUTBOX_RELAY_VERIFY_SECONDS", extent.verify_seconds),)
        ),
        Figure("recover", f"all lost: {count:,} back", back, "s", (undisturbed,)),
    ]

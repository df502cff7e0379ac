"""`large`: how fast large messages go into the stream, beside what either server does with as many bytes."""

from __future__ import annotations

from outbox.bench import limits
from outbox.bench.backlog import fill
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import drained, fresh
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell

PIPELINE_BYTES = 1 << 20
"""As many as a relay publishes at once by default."""
WRITE_BYTES = 4_000_000


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    figures = []
    for size in extent.large_bytes:
        count = max(100, extent.large_megabytes * 1_000_000 // size)
        pages, batch = max(1, min(1000, WRITE_BYTES // size)), max(1, min(limits.BATCH, PIPELINE_BYTES // size))
        tell(f"{count:,} messages of {size:,} bytes")
        await fresh(ground)
        await fill(ground, count, size=size, pages=pages)
        rate = await drained(ground, count)
        tell(f"bare XADD and bare update_many of {size:,} bytes")
        await ground.clear()
        ids = await fill(ground, count, size=size, pages=pages)
        update = await limits.bare_update_many(ground, ids)
        await ground.clear()
        xadd = await limits.bare_xadd(ground, count, size=size, batch=batch)
        beside = (Limit("bare XADD", xadd), Limit("bare update_many", update))
        figures.append(Figure("large", f"{size:,} bytes", rate, "messages/s", beside))
    await ground.clear()
    return figures

"""`scale`: the drain rate against whatever grows."""

from __future__ import annotations

from outbox.bench import limits
from outbox.bench.backlog import SMALL_BYTES, fill
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import drained, fresh
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.message.document import State

UNIT = "messages/s"
BARE = "bare update_many"


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    figures = await _sizes(ground, extent, tell)
    bare = figures[0].limits
    count = extent.scale_messages
    for pending in extent.pending:
        figures.append(
            _figure(f"pending {pending:,}", await _drained(ground, tell, f"{pending:,} pending", pending), bare)
        )
    for partitions in extent.partitions:
        rate = await _drained(ground, tell, f"{partitions} partitions", count, partitions=partitions)
        figures.append(_figure(f"partitions {partitions}", rate, bare))
    for size in extent.batch_sizes:
        rate = await _drained(ground, tell, f"batches of {size}", count, OUTBOX_RELAY_BATCH_SIZE=size)
        figures.append(_figure(f"batch size {size:,}", rate, bare))
    return figures + await _retained(ground, extent, tell, bare)


def _figure(name: str, rate: float, limits: tuple[Limit, ...]) -> Figure:
    return Figure("scale", name, rate, UNIT, limits)


async def _drained(
    ground: Ground, tell: Tell, what: str, count: int, *, partitions: int = 4, **environment: object
) -> float:
    tell(what)
    await fresh(ground, partitions=partitions)
    await fill(ground, count)
    return await drained(ground, count, relays=1, **environment)


async def _sizes(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    figures = []
    for size in extent.message_bytes:
        # No more than some hundred megabytes, or it would be the disk that is measured.
        count = min(extent.scale_messages, max(1000, extent.scale_messages * 10 * SMALL_BYTES // size))
        pages = max(1, min(1000, 4_000_000 // size))
        tell(f"messages of {size:,} bytes")
        await fresh(ground)
        await fill(ground, count, size=size, pages=pages)
        rate = await drained(ground, count)
        await ground.clear()
        ids = await fill(ground, count, size=size, pages=pages)
        bare = Limit(BARE, await limits.bare_update_many(ground, ids))
        figures.append(_figure(f"bytes {size:,}", rate, (bare,)))
    return figures


async def _retained(ground: Ground, extent: Extent, tell: Tell, bare: tuple[Limit, ...]) -> list[Figure]:
    """With more and more published messages that are kept. Each beside the rate with the fewest of them."""
    figures: list[Figure] = []
    await fresh(ground)
    kept = 0
    for retained in extent.retained:
        tell(f"{retained:,} published messages retained")
        await fill(ground, retained - kept, state=State.PUBLISHED)
        await fill(ground, extent.scale_messages)
        rate = await drained(ground, extent.scale_messages)
        kept = retained + extent.scale_messages
        beside = (Limit("fewest", figures[0].value),) if figures else bare
        figures.append(_figure(f"retained {retained:,}", rate, beside))
    return figures

"""`relays`: one relay, and several of them, that drain the same backlog."""

from __future__ import annotations

from outbox.bench.backlog import fill
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import drained, fresh
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell

PARTITIONS = 8


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    rates: dict[int, float] = {}
    for relays in extent.relays:
        tell(f"{extent.messages:,} messages, {relays} relays")
        await fresh(ground, partitions=PARTITIONS)
        await fill(ground, extent.messages)
        rates[relays] = await drained(ground, extent.messages, relays=relays)
    fewest = Limit("one relay", rates[min(rates)])
    return [Figure("relays", f"{relays} relays", rate, "messages/s", (fewest,)) for relays, rate in rates.items()]

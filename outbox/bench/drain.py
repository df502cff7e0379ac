"""`drain`: how fast a backlog goes into the stream."""

from __future__ import annotations

from outbox.bench import limits
from outbox.bench.backlog import fill
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import drained, fresh
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell

UNIT = "messages/s"


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    count = extent.messages
    tell(f"{count:,} messages, one relay")
    await fresh(ground)
    await fill(ground, count)
    one = await drained(ground, count)
    tell(f"{count:,} messages, two relays")
    await fresh(ground)
    await fill(ground, count)
    two = await drained(ground, count, relays=2)
    beside = await _limits(ground, extent, tell)
    return [
        Figure("drain", "one relay", one, UNIT, beside),
        Figure("drain", "two relays", two, UNIT, (Limit("one relay", one), *beside)),
    ]


async def _limits(ground: Ground, extent: Extent, tell: Tell) -> tuple[Limit, ...]:
    found = []
    for connections in (1, 4):
        name = "bare update_many" + (f" ×{connections}" if connections > 1 else "")
        tell(name)
        await ground.clear()
        ids = await fill(ground, extent.messages)
        found.append(Limit(name, await limits.bare_update_many(ground, ids, connections=connections)))
    tell("bare XADD")
    found.append(Limit("bare XADD", await limits.bare_xadd(ground, extent.messages)))
    tell("the naive relay")
    await ground.clear()
    await fill(ground, extent.naive + 1)
    return (*found, Limit("naive relay", await limits.naive_relay(ground, extent.naive)))

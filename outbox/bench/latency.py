"""`latency`: from the call of append to the entry in the hands of a worker that waits for it."""

from __future__ import annotations

from outbox.bench.bare import READY
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import shared
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.bench.traffic import WRITERS, Writers, consuming, quantile

PARTS = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
BARE = "change stream + XADD"


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    ours: dict[str, list[float]] = {}
    bare: dict[str, list[float]] = {}
    await ground.clear()
    with ground.relay():
        await shared(ground)
        await _measure(ground, extent, tell, "the relay", ours)
    await ground.clear()
    with ground.child("outbox.bench.bare") as process:
        while READY not in process.output():
            await ground.look_again()
        await _measure(ground, extent, tell, BARE, bare)
    figures = []
    for rate, times in ours.items():
        for name, part in PARTS:
            if name == "p50" or len(times) * (1 - part) >= 1:  # of fewer, the highest would be called by that name
                limit = Limit(BARE, 1000 * quantile(bare[rate], part))
                figures.append(Figure("latency", f"{rate} {name}", 1000 * quantile(times, part), "ms", (limit,)))
    return figures


async def _measure(ground: Ground, extent: Extent, tell: Tell, who: str, into: dict[str, list[float]]) -> None:
    """Latencies at each rate. The keys are the same for all who are measured."""
    async with consuming(ground) as consumer:
        writers = Writers(ground, consumer.begun)
        await writers.at_rate(50, 0.5)  # connections, scripts and caches are warm then
        await consumer.caught_up()
        consumer.taken()
        for rate in extent.rates:
            tell(f"{who}, {rate} appends/s")
            await writers.at_rate(rate, extent.latency_seconds)
            await consumer.caught_up()
            into[f"{rate}/s"] = consumer.taken()
        tell(f"{who}, as many appends/s as {WRITERS} writers make")
        await writers.without_pause(extent.latency_seconds)
        await consumer.caught_up()
        into["highest rate"] = consumer.taken()

"""`memory`: a relay's resident memory, and its rate, over a long drain."""

from __future__ import annotations

import time
from dataclasses import dataclass

from outbox.bench.backlog import fill, lengths, until_drained
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.processes import Usage
from outbox.bench.relays import fresh
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell

TENTH = "after a tenth"
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    entries: int
    megabytes: float


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    count = extent.memory_messages
    tell(f"{count:,} messages are written")
    await fresh(ground)
    await fill(ground, count)
    tell(f"{count:,} messages are drained")
    samples: list[_Sample] = []
    with ground.relay() as relay:
        usage = Usage(relay.pid)
        async for length in lengths(ground):
            if length and (not samples or time.perf_counter() - samples[-1].at > _SAMPLE_SECONDS):
                samples.append(_Sample(time.perf_counter(), length, usage.resident_megabytes()))
            if length >= count:
                break
        await until_drained(ground, count)
    first, tenth, last = samples[0], next(s for s in samples if s.entries >= count / 10), samples[-1]
    peak = max(sample.megabytes for sample in samples)
    return [
        Figure("memory", "peak RSS", peak, "MB", (Limit(TENTH, tenth.megabytes),)),
        Figure("memory", f"drain of {count:,}", _rate(first, last), "messages/s", (Limit(TENTH, _rate(first, tenth)),)),
    ]


def _rate(one: _Sample, other: _Sample) -> float:
    return (other.entries - one.entries) / max(_SAMPLE_SECONDS, other.at - one.at)

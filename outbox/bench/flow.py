"""`flow`: what everyday traffic costs, and how long it takes: paced appends, one relay, and bare loops beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from outbox.bench import bare
from outbox.bench.bare import MARKED, UNMARKED
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.latency import PARTS
from outbox.bench.processes import Usage
from outbox.bench.relays import shared
from outbox.bench.result import Figure, Limit
from outbox.bench.spending import Spent, spent
from outbox.bench.telling import Tell
from outbox.bench.traffic import Writers, consuming, quantile
from outbox.embedded import Process

OURS = "the relay"
ALONE = "appends alone"
HIGHEST = "highest rate"
IDLE = "no appends"


@dataclass(frozen=True, slots=True)
class _Measured:
    """Of one who carries messages, at one rate; processor time and requests are for all messages together."""

    count: int
    seconds: float
    latencies: list[float]
    carrier_cpu: float
    servers: Spent

    def cpu(self, alone: _Measured) -> dict[str, float]:
        """Milliseconds of a core for each message; of mongod, what is beyond the appends."""
        per = 1000 / self.count
        mongod = self.servers.mongod_cpu * per - alone.servers.mongod_cpu * 1000 / alone.count
        return {"relay": self.carrier_cpu * per, "mongod": max(0.0, mongod), "Redis": self.servers.redis_cpu * per}

    def requests(self, alone: _Measured) -> dict[str, float]:
        mongodb = self.servers.mongodb / self.count - alone.servers.mongodb / alone.count
        return {"MongoDB": max(0.0, mongodb), "Redis": self.servers.redis / self.count}


Measurements = dict[str, _Measured]
"""By rate."""


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    found: dict[str, Measurements] = {}
    for who in (ALONE, UNMARKED, MARKED, OURS):
        async with _carrier(ground, who) as process:
            found[who] = await _measure(ground, extent, tell, who, process)
            if who == OURS and process:
                steps = await _steps(ground, extent, tell, process)
    return [*_figures(found), *steps]


@asynccontextmanager
async def _carrier(ground: Ground, who: str) -> AsyncIterator[Process | None]:
    await ground.clear()
    if who == ALONE:
        yield None
    elif who == OURS:
        with ground.relay() as process:
            await shared(ground)
            yield process
    else:
        with ground.child("outbox.bench.bare", *([bare.MARK] if who == MARKED else [])) as process:
            while bare.READY not in process.output():
                await ground.look_again()
            yield process


async def _measure(ground: Ground, extent: Extent, tell: Tell, who: str, process: Process | None) -> Measurements:
    found: Measurements = {}
    usage = Usage(process.pid) if process else None
    async with consuming(ground) as consumer:
        writers = Writers(ground, consumer.begun if process else lambda *_: None)

        async def during(rate: int | None) -> _Measured:
            consumer.taken()
            began, cpu, requests = time.perf_counter(), usage.cpu_seconds() if usage else 0.0, consumer.requests
            before = await spent(ground)
            if rate is None:
                count = await writers.without_pause(extent.flow_seconds, consumer if process else None)
            else:
                count = await writers.at_rate(rate, extent.flow_seconds)
            seconds = time.perf_counter() - began
            await consumer.caught_up()
            after = (await spent(ground)).since(before, own=consumer.requests - requests)
            carrier = usage.cpu_seconds() - cpu if usage else 0.0
            return _Measured(count, seconds, consumer.taken(), carrier, after)

        await writers.at_rate(50, 0.5)  # connections, scripts and caches are warm then
        await consumer.caught_up()
        for rate in extent.flow_rates:
            tell(f"{who}, {rate} appends/s")
            found[f"{rate}/s"] = await during(rate)
        tell(f"{who}, as many appends/s as it keeps up with")
        found[HIGHEST] = await during(None)
    return found


async def _steps(ground: Ground, extent: Extent, tell: Tell, process: Process) -> list[Figure]:
    """From nothing to do to each of two rates: what all three processes take before, and then."""
    usage = Usage(process.pid)

    async def percent(rate: int | None) -> float:
        began, cpu, before = time.perf_counter(), usage.cpu_seconds(), await spent(ground)
        if rate is None:
            await asyncio.sleep(extent.idle_seconds / 2)
        else:
            await writers.at_rate(rate, extent.flow_seconds / 2)
            await consumer.caught_up()
        after = (await spent(ground)).since(before)
        seconds = time.perf_counter() - began
        return 100 * (usage.cpu_seconds() - cpu + after.mongod_cpu + after.redis_cpu) / seconds

    figures = []
    for rate in (extent.flow_rates[0], extent.flow_rates[-1]):
        async with consuming(ground) as consumer:
            writers = Writers(ground, consumer.begun)
            await writers.at_rate(50, 0.1)
            await consumer.caught_up()
        tell(f"nothing to do, then {rate} appends/s")
        idle = await percent(None)
        async with consuming(ground) as consumer:
            writers = Writers(ground, consumer.begun)
            busy = await percent(rate)
        limits = (Limit(IDLE, idle),)
        figures.append(Figure("flow", f"from idle to {rate}/s: CPU of all", busy, "% of a core", limits))
    return figures


def _figures(found: dict[str, Measurements]) -> list[Figure]:
    figures = []
    loops = (UNMARKED, MARKED)
    for rate, ours in found[OURS].items():
        alone, beside = found[ALONE][rate], {name: found[name][rate] for name in loops}
        for name, part in PARTS:
            if name == "p50" or len(ours.latencies) * (1 - part) >= 1:
                limits = tuple(Limit(who, 1000 * quantile(one.latencies, part)) for who, one in beside.items())
                value = 1000 * quantile(ours.latencies, part)
                figures.append(Figure("flow", f"{rate} {name}", value, "ms", limits))
        if rate == HIGHEST:
            limits = tuple(Limit(who, one.count / one.seconds) for who, one in beside.items())
            figures.append(Figure("flow", f"{rate} kept up", ours.count / ours.seconds, "messages/s", limits))
        cpu, costs = ours.cpu(alone), {who: one.cpu(alone) for who, one in beside.items()}
        limits = tuple(Limit(who, sum(cost.values())) for who, cost in costs.items())
        figures.append(Figure("flow", f"{rate} CPU in all", sum(cpu.values()), "ms/message", limits))
        for what, value in cpu.items():
            limits = tuple(Limit(who, cost[what]) for who, cost in costs.items())
            figures.append(Figure("flow", f"{rate} CPU: {what}", value, "ms/message", limits))
        for what, value in ours.requests(alone).items():
            limits = tuple(Limit(who, one.requests(alone)[what]) for who, one in beside.items())
            figures.append(Figure("flow", f"{rate} requests: {what}", value, "per message", limits))
    return figures

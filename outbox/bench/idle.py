"""`idle`: what a relay takes that has nothing to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.processes import Usage
from outbox.bench.relays import shared
from outbox.bench.result import Figure, Limit
from outbox.bench.spending import REQUESTS
from outbox.bench.telling import Tell

NONE = "no relay"


@dataclass(frozen=True, slots=True)
class _Commands:
    """How many commands the servers have carried out, the bench's own among them."""

    mongodb: int
    redis: int


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    await ground.clear()
    seconds = extent.idle_seconds
    tell("no relay, to compare")
    without = await _rates(ground, seconds / 3)
    with ground.relay() as relay:
        await shared(ground)
        await asyncio.sleep(min(2.0, seconds))  # what it does at its start is not what is asked
        tell(f"a relay with nothing to do, {seconds:g} s")
        usage = Usage(relay.pid)
        before = usage.cpu_seconds()
        mongodb, redis = await _rates(ground, seconds)
        cpu = 100 * (usage.cpu_seconds() - before) / seconds
    return [
        Figure("idle", "CPU", cpu, "% of a core", (Limit(NONE, 0.0),)),
        Figure("idle", "commands in all", mongodb + redis, "per second", (Limit(NONE, sum(without)),)),
        Figure("idle", "commands to MongoDB", mongodb, "per second", (Limit(NONE, without[0]),)),
        Figure("idle", "commands to Redis", redis, "per second", (Limit(NONE, without[1]),)),
    ]


async def _rates(ground: Ground, seconds: float) -> tuple[float, float]:
    """Commands a second, of MongoDB and of Redis, without those that ask for them."""
    before = await _commands(ground)
    await asyncio.sleep(seconds)
    after = await _commands(ground)
    return (after.mongodb - before.mongodb - 1) / seconds, (after.redis - before.redis - 1) / seconds


async def _commands(ground: Ground) -> _Commands:
    counters = (await ground.client.admin.command("serverStatus"))["opcounters"]
    stats = await ground.redis.info("stats")
    return _Commands(sum(counters[name] for name in REQUESTS), stats["total_commands_processed"])

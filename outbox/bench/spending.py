"""What the servers themselves say that they have spent, so that it can be asked of servers anywhere."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from outbox.bench.ground import Ground

REQUESTS = ("insert", "query", "update", "delete", "getmore", "command")
"""The counters that make up all commands to MongoDB."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processor time and requests of clients, since the servers' start or over some time."""

    mongod_cpu: float
    redis_cpu: float
    mongodb: float
    redis: float

    def since(self, before: Self, *, own: int = 0) -> Spent:
        """What was spent since `before`, without the question itself, and `own` other requests to Redis."""
        each = {field.name: getattr(self, field.name) - getattr(before, field.name) for field in fields(self)}
        return Spent(**{**each, "mongodb": each["mongodb"] - 1, "redis": each["redis"] - 2 - own})


async def spent(ground: Ground) -> Spent:
    status = await ground.client.admin.command("serverStatus")
    process: dict[str, Any] = status["extra_info"]  # without times of its own where mongod does not run on Linux
    mongod = (process.get("user_time_us", 0) + process.get("system_time_us", 0)) / 1e6
    cpu, stats = await ground.redis.info("cpu"), await ground.redis.info("stats")
    requests = sum(status["opcounters"][name] for name in REQUESTS)
    # A request is what is read at once: a script is one, whatever it calls.
    reads = stats.get("total_reads_processed", stats["total_commands_processed"])
    return Spent(mongod, cpu["used_cpu_user"] + cpu["used_cpu_sys"], requests, reads)

"""The clocks of the servers, against this machine's. No promise rests on them; times that people read do."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from outbox.operations.doctor.findings import Finding, Level, Surroundings
from outbox.servers.clock import server_time
from outbox.servers.topology import primaries

LIMIT = timedelta(seconds=5)


async def mongodb(at: Surroundings) -> list[Finding]:
    before = time.time()
    there = await server_time(at.database)
    return _judge("MongoDB", there, before)


async def redis(at: Surroundings) -> list[Finding]:
    findings: list[Finding] = []
    before = time.time()
    for reply in await primaries(at.redis, "TIME"):
        if isinstance(reply, tuple | list):  # it may not be allowed, which the rights say
            seconds, micros = (int(part) for part in reply)
            findings += _judge("Redis", datetime.fromtimestamp(seconds + micros / 1e6, UTC), before)
    return findings[:1]


def _judge(server: str, there: datetime, before: float) -> list[Finding]:
    """It was read between `before` and now, however long that took."""
    shown: Any = there.timestamp()
    off = max(before - shown, shown - time.time(), 0.0)
    if off <= LIMIT.total_seconds():
        return []
    ahead = "ahead of" if shown > before else "behind"
    return [
        Finding(
            "clock", Level.WARNING, f"the clock of {server} is {off:,.0f} s {ahead} this machine's",
            "no promise rests on clocks, but scheduled messages become due by MongoDB's, `replay --since` and the "
            "times in logs are the programs' own, and leases may pass on late",
            "let both follow the same time server (chrony, systemd-timesyncd)",
        )
    ]  # fmt: skip

"""The bench: which measurements there are, and a run of some of them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from outbox.bench import append, drain, flow, idle, large, latency, memory, recover, scale, several, upload, worker
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground, prepared
from outbox.bench.result import Figure, Run
from outbox.bench.telling import Tell
from outbox.settings import OutboxSettings

Measure = Callable[[Ground, Extent, Tell], Awaitable[list[Figure]]]

MEASUREMENTS: dict[str, Measure] = {
    "drain": drain.measure,
    "latency": latency.measure,
    "flow": flow.measure,
    "append": append.measure,
    "upload": upload.measure,
    "worker": worker.measure,
    "recover": recover.measure,
    "large": large.measure,
    "relays": several.measure,
    "scale": scale.measure,
    "idle": idle.measure,
    "memory": memory.measure,
}


async def run(
    settings: OutboxSettings,
    extent: Extent,
    names: Sequence[str],
    *,
    mongodb_uri: str | None,
    redis_url: str | None,
    command: str,
    tell: Callable[[str, str], None],
) -> Run:
    """Measure what `names` names, in that order. `tell` is called with a name and a step before each step.

    What is made on the servers is removed, also after an error, which is raised.
    """
    started, at = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    figures: list[Figure] = []
    async with prepared(settings, mongodb_uri, redis_url) as ground:
        versions = {
            **await ground.versions(),
            "python": platform.python_version(),
            "outbox-relay": version("outbox-relay"),
        }
        for name in names:
            figures += await MEASUREMENTS[name](ground, extent, lambda step, name=name: tell(name, step))  # type: ignore[misc]
        skipped = {}
        if ground.server is None and "recover" in names:
            skipped["recover: Redis returns"] = "needs a Redis that the bench may stop: leave out --redis-url"
    return Run(command, at, time.perf_counter() - started, _machine(), versions, tuple(figures), skipped)


def _machine() -> dict[str, str]:
    return {
        "processors": f"{os.cpu_count()} × {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    names = [line for line in known.read_text().splitlines() if line.startswith("model name")] if known.exists() else []
    return names[0].partition(": ")[2] if names else platform.machine()

"""Redis is away for an hour, and a hundred thousand messages wait: flat memory, a quick return, all of them drained.

The hour takes a minute: the relay probes, retries and sweeps sixty times as often, until it has done as much as in an
hour; then it goes on as usual, and Redis returns. Backlog, servers and drain are as they are. `OUTAGE_REAL=1` takes the
hour.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest

from outbox.database import OUTBOX, PARTITIONS
from outbox.message.document import new_document
from outbox.settings import OutboxSettings
from outbox.streams.declaration import FILES
from outbox_relay.outage import PROBE_SECONDS
from tests.faults.history import Appended
from tests.faults.hurried import FASTER
from tests.faults.relays import RelayProcess
from tests.faults.scenario import STREAM, Scenario
from tests.waiting import PATIENCE, eventually, pass_by

REAL = bool(os.environ.get("OUTAGE_REAL"))
HOUR = 3600
WAITING = 100_000
KEYS = 1000
TOGETHER = 1000
"""Messages in one transaction."""
USUAL = 10
"""Seconds for which everything is as usual again, so that every pause is as long as it can be."""
GROWTH = 8 * 1024 * 1024
"""Bytes. What a relay may take more at the end of the hour than at its beginning; the backlog is ten times as large."""


@pytest.mark.slow
@pytest.mark.timeout(2 * HOUR if REAL else 600)
async def test_an_hour_without_redis(scenario: Scenario, record_property: Callable[[str, object], None]) -> None:
    sweep = 1.0 if REAL else 1.0 / FASTER
    variant = ("outbox", "relay") if REAL else ("tests.faults.hurried",)
    with scenario.relay_process(*variant, relay_poll_seconds=sweep, relay_lease_seconds=10) as relay:
        await scenario.held()
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        scenario.redis.kill()
        started = time.monotonic()
        await append_a_backlog(scenario)
        memory = [resident(relay)]
        while not an_hour_has_passed(relay, started):
            await pass_by(1)
            memory.append(resident(relay))
        if not REAL:
            os.kill(relay.pid, signal.SIGUSR1)
            await pass_by(USUAL)
        memory.append(resident(relay))
        first = await the_first_entry_after_the_return(scenario)
        drained = time.monotonic()
        peak = await drain(scenario, relay)
        rate = WAITING / (time.monotonic() - drained)
        await scenario.comes_to_rest(60)
    tell = {
        "outage_seconds": round(drained - started),
        "probes": HOUR / PROBE_SECONDS if REAL else probes(relay),
        "memory_at_its_beginning_mib": round(memory[0] / 2**20, 1),
        "memory_at_its_end_mib": round(memory[-1] / 2**20, 1),
        "memory_while_draining_mib": round(peak / 2**20, 1),
        "first_entry_after_seconds": round(first, 3),
        "messages_per_second": round(rate),
    }
    for name, value in tell.items():
        record_property(name, value)
        print(f"{name}: {value}")
    assert max(memory) < memory[0] + GROWTH
    assert first < PATIENCE


async def append_a_backlog(scenario: Scenario) -> None:
    """Many in one transaction; otherwise as `Outbox.append` does it."""
    for begin in range(0, WAITING, TOGETHER):
        keys = [f"waiting-{n % KEYS}" for n in range(begin, begin + TOGETHER)]
        documents = [a_message(key) for key in keys]

        async def body(session: Any, documents: list[dict[str, Any]] = documents) -> None:
            await scenario.database[OUTBOX].insert_many(documents, session=session)

        async with scenario.client.start_session() as session:
            await session.with_transaction(body)
        scenario.history.add(*(Appended(str(d["_id"]), key) for d, key in zip(documents, keys, strict=True)))


def a_message(key: str) -> dict[str, Any]:
    return new_document(
        FILES, {"file_id": key, "filename": f"{key}.pdf"}, key=key, headers=None, available_at=None,
        now=datetime.now(UTC), max_bytes=OutboxSettings.model_fields["outbox_max_message_bytes"].default,
    )  # fmt: skip


def an_hour_has_passed(relay: RelayProcess, since: float) -> bool:
    if REAL:
        return time.monotonic() - since >= HOUR
    return probes(relay) >= HOUR / PROBE_SECONDS


def probes(relay: RelayProcess) -> int:
    return max((int(line["made"]) for line in relay.lines() if line["event"] == "probes"), default=0)


def resident(relay: RelayProcess) -> int:
    return int(psutil.Process(relay.pid).memory_info().rss)


async def the_first_entry_after_the_return(scenario: Scenario) -> float:
    """Seconds from Redis's first answer to a first new entry."""
    await asyncio.to_thread(scenario.redis.start)
    answered = time.monotonic()
    before = 10
    async with scenario.at_redis() as redis:

        async def there() -> bool:
            return int(await redis.xlen(STREAM)) > before

        await eventually(there, 30, every=0.005)
    return time.monotonic() - answered


async def drain(scenario: Scenario, relay: RelayProcess) -> int:
    """Until nothing is pending; returns the most memory that the relay took meanwhile."""
    peak = 0

    async def empty() -> bool:
        nonlocal peak
        peak = max(peak, resident(relay))
        return await scenario.database[OUTBOX].find_one({"state": "pending"}, {"_id": 1}) is None

    await eventually(empty, 300, every=0.1)
    assert await scenario.database[PARTITIONS].count_documents({"owner": None}) == 0
    return peak

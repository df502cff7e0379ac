"""`latency`: from the call of append to the entry in the hands of a worker that waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from outbox.append import Outbox
from outbox.bench.bare import READY
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.relays import shared
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell

WRITERS = 32
"""Who write one transaction after the other, for the highest rate."""

PARTS = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
BARE = "change stream + XADD"
_LEFT_SECONDS = 10.0
_BLOCK_MILLISECONDS = 200


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
                limit = Limit(BARE, 1000 * _quantile(bare[rate], part))
                figures.append(Figure("latency", f"{rate} {name}", 1000 * _quantile(times, part), "ms", (limit,)))
    return figures


async def _measure(ground: Ground, extent: Extent, tell: Tell, who: str, into: dict[str, list[float]]) -> None:
    """Latencies at each rate. The keys are the same for all who are measured."""
    async with _consumer(ground) as consumer:
        await _at_rate(ground, consumer, 50, 0.5)  # connections, scripts and caches are warm then
        consumer.seconds.clear()
        for rate in extent.rates:
            tell(f"{who}, {rate} appends/s")
            await _at_rate(ground, consumer, rate, extent.latency_seconds)
            into[f"{rate}/s"] = consumer.taken()
        tell(f"{who}, as many appends/s as {WRITERS} writers make")
        await _as_many_as_possible(ground, consumer, extent.latency_seconds)
        into["highest rate"] = consumer.taken()


class _Consumer:
    """Waits for entries, as a worker does, and knows when each message was appended."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._begun: dict[str, float] = {}
        self._closed = False
        self.seconds: list[float] = []

    def close(self) -> None:
        self._closed = True

    def begun(self, message_id: object, at: float) -> None:
        self._begun[str(message_id)] = at

    async def consume(self) -> None:
        last = "0"
        while not self._closed:
            found = await self._ground.redis.xread({self._ground.stream.key: last}, block=_BLOCK_MILLISECONDS)
            now = time.perf_counter()
            for entry, fields in cast(list[Any], found)[0][1] if found else ():
                self.seconds.append(now - self._begun.pop(fields["message_id"]))
                last = entry

    async def caught_up(self) -> None:
        """Return when all that was appended has been read."""
        async with asyncio.timeout(_LEFT_SECONDS):
            while self._begun:
                await self._ground.look_again()

    def taken(self) -> list[float]:
        taken, self.seconds = self.seconds, []
        return taken


@asynccontextmanager
async def _consumer(ground: Ground) -> AsyncIterator[_Consumer]:
    consumer = _Consumer(ground)
    task = asyncio.create_task(consumer.consume())
    try:
        yield consumer
    finally:
        consumer.close()
        await task


async def _append(ground: Ground, outbox: Outbox, consumer: _Consumer, key: int) -> None:
    async with ground.client.start_session() as session:
        async with await session.start_transaction():
            begun = time.perf_counter()
            message_id = await outbox.append(session, ground.stream.name, {"file_id": str(key)}, key=str(key))
            # Before the commit: the entry may be read before the reply to that one is.
            consumer.begun(message_id, begun)


async def _at_rate(ground: Ground, consumer: _Consumer, rate: int, seconds: float) -> None:
    """Appends at fixed times, whether or not those before are done."""
    outbox = Outbox(ground.settings.streams, database=ground.database.name, prefix=ground.database.place.prefix)
    loop = asyncio.get_running_loop()
    first = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(max(1, round(rate * seconds))):
            await asyncio.sleep(first + number / rate - loop.time())
            group.create_task(_append(ground, outbox, consumer, number))
    await consumer.caught_up()


async def _as_many_as_possible(ground: Ground, consumer: _Consumer, seconds: float) -> None:
    outbox = Outbox(ground.settings.streams, database=ground.database.name, prefix=ground.database.place.prefix)
    until = time.perf_counter() + seconds

    async def write(writer: int) -> None:
        while time.perf_counter() < until:
            await _append(ground, outbox, consumer, writer)

    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write(writer))
    await consumer.caught_up()


def _quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]

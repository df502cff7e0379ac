"""Traffic: transactions that append at a given rate, and a reader that knows how long each message took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from outbox.append import Outbox
from outbox.bench.ground import Ground

WRITERS = 32
"""Who write one transaction after the other, for the highest rate."""

SILENT_SECONDS = 60.0
"""Who adds no entry for so long does not do so any more. A backlog, after a rate that was too high, may take longer."""

_BLOCK_MILLISECONDS = 200


class Consumer:
    """Waits for the entries after one, as a worker does, and knows when each message was appended."""

    def __init__(self, ground: Ground, after: str) -> None:
        self._ground = ground
        self._after = after
        self._begun: dict[str, float] = {}
        self._read: dict[str, asyncio.Event] = {}
        self._closed = False
        self._seconds: list[float] = []
        self.requests = 0
        """Its own requests to Redis."""

    def close(self) -> None:
        self._closed = True

    def begun(self, message_id: object, at: float) -> None:
        self._begun[str(message_id)] = at

    async def read(self, message_id: str) -> None:
        """Return when the message, of which it knows when it was begun, has been read."""
        if message_id in self._begun:
            self._read[message_id] = asyncio.Event()
            async with asyncio.timeout(SILENT_SECONDS):
                await self._read[message_id].wait()

    async def consume(self) -> None:
        last = self._after
        while not self._closed:
            self.requests += 1
            found = await self._ground.redis.xread({self._ground.stream.key: last}, block=_BLOCK_MILLISECONDS)
            now = time.perf_counter()
            for entry, fields in cast(list[Any], found)[0][1] if found else ():
                self._seconds.append(now - self._begun.pop(fields["message_id"]))
                if waiting := self._read.pop(fields["message_id"], None):
                    waiting.set()
                last = entry

    async def caught_up(self) -> None:
        """Return when all that was appended has been read."""
        while left := len(self._begun):
            async with asyncio.timeout(SILENT_SECONDS):
                while len(self._begun) == left:
                    await self._ground.look_again()

    def taken(self) -> list[float]:
        """Seconds from append to here of each message since this was asked last."""
        taken, self._seconds = self._seconds, []
        return taken


@asynccontextmanager
async def consuming(ground: Ground) -> AsyncIterator[Consumer]:
    there = cast(list[Any], await ground.redis.xrevrange(ground.stream.key, count=1))
    consumer = Consumer(ground, there[0][0] if there else "0")
    task = asyncio.create_task(consumer.consume())
    try:
        yield consumer
    finally:
        consumer.close()
        await task


class Writers:
    """Appends on a ground; `begun` is called with each message's id and the time before its append."""

    def __init__(self, ground: Ground, begun: Callable[[object, float], None]) -> None:
        self._ground = ground
        self._begun = begun
        place = ground.database.place
        self._outbox = Outbox(ground.settings.streams, database=ground.database.name, prefix=place.prefix)

    async def append(self, key: int) -> str:
        """One message in a transaction of its own; returns its id."""
        ground = self._ground
        async with ground.client.start_session() as session:
            async with await session.start_transaction():
                begun = time.perf_counter()
                fields = {"file_id": str(key)}
                message_id = await self._outbox.append(session, ground.stream.name, fields, key=str(key))
                # Before the commit: the entry may be read before the reply to that one is.
                self._begun(message_id, begun)
        return str(message_id)

    async def at_rate(self, rate: int, seconds: float) -> int:
        """Appends at fixed times, whether or not those before are done; returns how many."""
        count = max(1, round(rate * seconds))
        loop = asyncio.get_running_loop()
        first = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(first + number / rate - loop.time())
                group.create_task(self.append(number))
        return count

    async def without_pause(self, seconds: float, consumer: Consumer | None = None) -> int:
        """Appends by `WRITERS` at a time, one after the other; returns how many.

        With a `consumer`, each goes on when its message has been read: so whoever carries them keeps up.
        """
        until = time.perf_counter() + seconds

        async def write(writer: int) -> int:
            count = 0
            while time.perf_counter() < until:
                message_id = await self.append(writer)
                if consumer:
                    await consumer.read(message_id)
                count += 1
            return count

        async with asyncio.TaskGroup() as group:
            writing = [group.create_task(write(writer)) for writer in range(WRITERS)]
        return sum(task.result() for task in writing)


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]

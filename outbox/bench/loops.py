"""What a worker is measured against: loops that carry out the same statements, and nothing that a crash would need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from bson import ObjectId

from outbox.bench.ground import Ground
from outbox.database import FILES, OUTBOX
from outbox.message import transitions
from outbox.message.document import Sent
from outbox.worker.completion import TRANSACTION

TOGETHER = 10
"""Messages worked on at a time, and entries taken by one read: as a worker does by default."""

One = Callable[[ObjectId], Awaitable[None]]
PARSED = {"$set": {"parsing": "parsed"}}


class Meter:
    """Counts messages, and knows how long those after the first `warm` took."""

    def __init__(self, count: int, warm: int) -> None:
        self._count = count
        self._warm = warm
        self._done = 0
        self._began = self._ended = 0.0
        self.all_done = asyncio.Event()

    def tick(self, more: int = 1) -> None:
        """So many messages more have been handled."""
        self._done += more
        if not self._began and self._done >= self._warm:
            self._began, self._warm = time.perf_counter(), self._done
        if self._done >= self._count and not self._ended:
            self._ended = time.perf_counter()
            self.all_done.set()

    def rate(self) -> float:
        """Messages a second, to be asked when all are done."""
        return (self._count - self._warm) / (self._ended - self._began)


async def transactions(ground: Ground, meter: Meter) -> None:
    """For each entry: the handler's update and the message's completion in one transaction; XACK for ten at a time."""
    files, messages = ground.database[FILES], ground.database[OUTBOX]

    async def one(id_: ObjectId) -> None:
        async with ground.client.start_session() as session, await session.start_transaction(**TRANSACTION):
            await files.update_one({"_id": id_}, PARSED, session=session)
            await messages.update_one(*transitions.complete(Sent(id_, 1)), session=session)

    await _loop(ground, meter, one)


async def plain(ground: Ground, meter: Meter) -> None:
    """The same without a transaction or a completion: the handler's update alone."""
    files = ground.database[FILES]

    async def one(id_: ObjectId) -> None:
        await files.update_one({"_id": id_}, PARSED)

    await _loop(ground, meter, one)


async def _loop(ground: Ground, meter: Meter, one: One) -> None:
    stream, group, redis = ground.stream.key, ground.stream.group, ground.redis

    async def read(number: int) -> None:
        while found := await redis.xreadgroup(group, f"bare-{number}", {stream: ">"}, count=TOGETHER):
            entries = cast(list[Any], found)[0][1]
            for _, fields in entries:
                await one(ObjectId(fields["message_id"]))
                meter.tick()
            await redis.xack(stream, group, *(id_ for id_, _ in entries))

    async with asyncio.TaskGroup() as tasks:
        for number in range(TOGETHER):
            tasks.create_task(read(number))

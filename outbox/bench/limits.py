"""What drains are measured against: the servers' own speed at each of its parts, and the relay that people write."""

from __future__ import annotations

import asyncio
import time

from bson import ObjectId

from outbox.bench.backlog import SMALL_BYTES, pages_of
from outbox.bench.ground import Ground
from outbox.database import OUTBOX
from outbox.message.document import State

BATCH = 500
"""As many as the relay takes by default."""


async def bare_update_many(ground: Ground, ids: list[ObjectId], *, connections: int = 1) -> float:
    """Messages a second: the messages of a backlog, marked published batch by batch, and nothing else."""
    messages = ground.database[OUTBOX]
    batches = pages_of(ids, BATCH)

    async def mark() -> None:
        for batch in batches:
            await messages.update_many(
                {"_id": {"$in": batch}, "state": State.PENDING.value},
                {"$set": {"state": State.PUBLISHED.value, "attempts": 1}, "$currentDate": {"published_at": True}},
            )

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(mark())
    return len(ids) / (time.perf_counter() - started)


async def bare_xadd(ground: Ground, count: int, *, size: int = SMALL_BYTES, batch: int = BATCH) -> float:
    """Entries a second: the entries of a backlog, added in pipelines of `batch`, and nothing else."""
    filling = "x" * (size - 70)
    fields = {"file_id": "0" * 24, "filename": filling, "folder_id": "bench", "message_id": "0" * 24, "attempt": "1"}
    started = time.perf_counter()
    for page in pages_of(list(range(count)), batch):
        async with ground.redis.pipeline(transaction=False) as pipe:
            for _ in page:
                pipe.xadd(ground.stream.key, fields)  # type: ignore[arg-type]
            await pipe.execute()
    return count / (time.perf_counter() - started)


async def naive_relay(ground: Ground, count: int) -> float:
    """Messages a second of the relay that people write: find one, XADD, update it, and again."""
    messages = ground.database[OUTBOX]
    pending = {"state": State.PENDING.value}
    started = time.perf_counter()
    for _ in range(count):
        message = await messages.find_one(pending, hint="pending")
        assert message is not None, "the backlog is larger than what is taken from it"
        await ground.redis.xadd(ground.stream.key, {**message["fields"], "message_id": str(message["_id"])})
        await messages.update_one({"_id": message["_id"]}, {"$set": {"state": State.PUBLISHED.value}})
    return count / (time.perf_counter() - started)

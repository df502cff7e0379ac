"""`append`: what a message costs the transaction that it is written in."""

from __future__ import annotations

import asyncio
import time

from bson import ObjectId

from outbox.append import Outbox
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.schema import FILES

WITHOUT = "without append"
ROUNDS = 3


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    """No relay runs meanwhile: what is asked is what the writers themselves pay."""
    await ground.clear()
    figures = []
    for writers in extent.writers:
        tell(f"{writers} writers")
        done = {True: 0.0, False: 0.0}
        # By turns, so that whatever else happens on the machine hits both alike.
        for _ in range(ROUNDS):
            for with_append in done:
                done[with_append] += await _transactions(ground, writers, extent.transaction_seconds, with_append)
        limit = Limit(WITHOUT, done[False] / ROUNDS)
        name = f"{writers} writer{'s' if writers > 1 else ''}"
        figures.append(Figure("append", name, done[True] / ROUNDS, "transactions/s", (limit,)))
    return figures


async def _transactions(ground: Ground, writers: int, seconds: float, with_append: bool) -> float:
    """Transactions a second: each inserts a record and, perhaps, appends a message that speaks of it."""
    outbox = Outbox(ground.settings.streams, database=ground.database.name)
    files = ground.database[FILES]
    until = time.perf_counter() + seconds

    async def write() -> int:
        done = 0
        async with ground.client.start_session() as session:
            while time.perf_counter() < until:
                file_id = ObjectId()
                record = {"_id": file_id, "filename": "a.pdf", "folder_id": "bench", "parsing": "queued", "version": 1}
                async with await session.start_transaction():
                    await files.insert_one(record, session=session)
                    if with_append:
                        fields = {"file_id": str(file_id), "filename": "a.pdf", "folder_id": "bench"}
                        await outbox.append(session, ground.stream.name, fields, key=str(file_id))
                done += 1
        return done

    started = time.perf_counter()
    done = await asyncio.gather(*(write() for _ in range(writers)))
    return sum(done) / (time.perf_counter() - started)

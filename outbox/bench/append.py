"""`append`: what a message costs the transaction that it is written in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.append import Outbox
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.database import FILES
from outbox.message.document import new_document

WITHOUT = "without append"
PLAIN = "a plain insert instead"
"""Of the same document, into a collection without indexes and validator: what any third request in it costs."""
ROUNDS = 3
_PLAIN_COLLECTION = "plain"

Second = Callable[[AsyncClientSession, ObjectId], Awaitable[object]]
"""What else the transaction does, in the session of its insert of the record with this id."""


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    """No relay runs meanwhile: what is asked is what the writers themselves pay."""
    await ground.clear()
    await ground.database.create_collection(_PLAIN_COLLECTION)
    outbox = Outbox(ground.settings.streams, database=ground.database.name, prefix=ground.database.place.prefix)
    plain, stream = ground.database[_PLAIN_COLLECTION], ground.stream

    async def append(session: AsyncClientSession, file_id: ObjectId) -> None:
        await outbox.append(session, stream.name, _fields(file_id), key=str(file_id))

    async def insert(session: AsyncClientSession, file_id: ObjectId) -> None:
        now, key = datetime.now(UTC), str(file_id)
        fields = _fields(file_id)
        made = new_document(stream, fields, key=key, headers=None, available_at=None, now=now, max_bytes=1 << 20)
        await plain.insert_one(made, session=session)

    seconds: dict[str, Second | None] = {"append": append, PLAIN: insert, WITHOUT: None}
    figures = []
    for writers in extent.writers:
        tell(f"{writers} writers")
        done = dict.fromkeys(seconds, 0.0)
        # By turns, so that whatever else happens on the machine hits both alike.
        for _ in range(ROUNDS):
            for name, second in seconds.items():
                done[name] += await _transactions(ground, writers, extent.transaction_seconds, second) / ROUNDS
        limits = tuple(Limit(name, done[name]) for name in (WITHOUT, PLAIN))
        name = f"{writers} writer{'s' if writers > 1 else ''}"
        figures.append(Figure("append", name, done["append"], "transactions/s", limits))
    return figures


def _fields(file_id: ObjectId) -> dict[str, str]:
    return {"file_id": str(file_id), "filename": "a.pdf", "folder_id": "bench"}


async def _transactions(ground: Ground, writers: int, seconds: float, second: Second | None) -> float:
    """Transactions a second: each inserts a record and, perhaps, does something else that speaks of it."""
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
                    if second:
                        await second(session, file_id)
                done += 1
        return done

    started = time.perf_counter()
    done = await asyncio.gather(*(write() for _ in range(writers)))
    return sum(done) / (time.perf_counter() - started)

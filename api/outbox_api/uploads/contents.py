"""File contents in GridFS, streamed in and out in flat memory.

The layout is GridFS's own, so that every GridFS client reads what is written here, and the `_id` is the file's. The
statements are ours: PyMongo's upload stream collects 32 MB before it writes, its download stream fetches 16 MB at a
time, and some dozens of either at once would fill a small machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bson import Int64, ObjectId

from outbox.database import CONTENTS, Database, Document
from outbox.errors import ContentsDamaged

CHUNK_BYTES = 255 * 1024
"""What GridFS uses by default."""

BATCH_CHUNKS = 4
"""Chunks that are written or fetched at once, and so about 1 MB in memory for each transfer."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of contents that went by: their size in bytes, and the SHA-256 in hexadecimal."""

    size: int
    sha256: str


class Measure:
    """Takes contents in and keeps only their measure."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)

    async def finish(self) -> Measured:
        return Measured(self._size, self._digest.hexdigest())


class Writer(Measure):
    """Stores the contents of one file. They can be read once `finish` has returned.

    One that is not finished leaves chunks behind, which are removed with the file's record (see `files`).
    """

    def __init__(self, database: Database, file_id: ObjectId, filename: str) -> None:
        super().__init__()
        self._database = database
        self._file_id = file_id
        self._filename = filename
        self._buffer = bytearray()
        self._chunks = 0

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self._buffer += data
        if len(self._buffer) >= BATCH_CHUNKS * CHUNK_BYTES:
            await self._flush(len(self._buffer) // CHUNK_BYTES * CHUNK_BYTES)

    async def finish(self) -> Measured:
        await self._flush(len(self._buffer))
        measured = await super().finish()
        await self._database[f"{CONTENTS}.files"].insert_one(
            {
                "_id": self._file_id,
                "filename": self._filename,
                "length": Int64(measured.size),
                "chunkSize": CHUNK_BYTES,
                "uploadDate": datetime.now(UTC),
            }
        )
        return measured

    async def _flush(self, size: int) -> None:
        chunks: list[Document] = []
        for start in range(0, size, CHUNK_BYTES):
            data = bytes(self._buffer[start : min(start + CHUNK_BYTES, size)])
            chunks.append({"files_id": self._file_id, "n": self._chunks, "data": data})
            self._chunks += 1
        del self._buffer[:size]
        if chunks:
            await self._database[f"{CONTENTS}.chunks"].insert_many(chunks)


async def length(database: Database, file_id: ObjectId) -> int | None:
    """How many bytes GridFS says that there are, whoever has stored them; None: there are no such contents."""
    found = await database[f"{CONTENTS}.files"].find_one({"_id": file_id}, {"length": 1})
    told = found and found.get("length")
    # Programs that have one type of number only may write a large length as a double.
    return int(told) if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < 2**63 else None


async def read(database: Database, file_id: ObjectId, size: int) -> AsyncIterator[bytes]:
    """The contents of a file of `size` bytes, piece by piece. Raises ContentsDamaged, perhaps after some pieces."""
    number = seen = 0
    cursor = database[f"{CONTENTS}.chunks"].find({"files_id": file_id}, batch_size=BATCH_CHUNKS).sort("n")
    async with cursor:
        async for chunk in cursor:
            data: bytes = chunk["data"]
            if chunk["n"] != number or seen + len(data) > size:
                break
            number += 1
            seen += len(data)
            yield data
    if seen != size:
        raise ContentsDamaged(f"contents of file {file_id} end or have a gap after {seen} of {size} bytes")


async def remove(database: Database, file_ids: Sequence[ObjectId]) -> None:
    """Delete all there is of these contents. Repeating it changes nothing."""
    await database[f"{CONTENTS}.files"].delete_many({"_id": {"$in": file_ids}})
    await database[f"{CONTENTS}.chunks"].delete_many({"files_id": {"$in": file_ids}})

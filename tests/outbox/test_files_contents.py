"""Contents: any GridFS client reads what is written, and damage is told, never passed on as the whole."""

from __future__ import annotations

import hashlib

import pytest
from bson import ObjectId
from gridfs import AsyncGridFSBucket
from hypothesis import given
from hypothesis import strategies as st

from outbox.database import Database
from outbox.errors import ContentsDamaged
from outbox_api.uploads import contents, idempotency
from outbox_api.uploads.contents import CHUNK_BYTES, Measure, Measured, Writer
from tests.strategies import examples


async def write(db: Database, data: bytes, piece: int) -> tuple[ObjectId, Measured]:
    file_id = ObjectId()
    writer = Writer(db, file_id, "name")
    for start in range(0, len(data), piece):
        await writer.write(data[start : start + piece])
    return file_id, await writer.finish()


async def read(db: Database, file_id: ObjectId, size: int) -> bytes:
    return b"".join([piece async for piece in contents.read(db, file_id, size)])


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 9 * CHUNK_BYTES, 3_000_000])
@pytest.mark.parametrize("piece", [65_536, 5_000_000])
async def test_gridfs_reads_what_is_written(size: int, piece: int, db: Database) -> None:
    data = hashlib.shake_128(b"seed").digest(size)
    file_id, measured = await write(db, data, piece)
    assert measured == Measured(size, hashlib.sha256(data).hexdigest())
    assert await read(db, file_id, size) == data
    stream = await AsyncGridFSBucket(db).open_download_stream(file_id)
    assert await stream.read() == data
    assert (stream.filename, stream.length) == ("name", size)


async def test_what_gridfs_wrote_can_be_read(db: Database) -> None:
    file_id = await AsyncGridFSBucket(db, chunk_size_bytes=10).upload_from_stream("name", b"x" * 95)
    assert await read(db, file_id, 95) == b"x" * 95


@pytest.mark.parametrize("lost", [{"n": 0}, {"n": 2}, {"n": 4}, {}])
async def test_damage_is_told(lost: dict[str, int], db: Database) -> None:
    size = 4 * CHUNK_BYTES + 5
    file_id, _ = await write(db, b"x" * size, size)
    await db["fs.chunks"].delete_many({"files_id": file_id, **lost})
    with pytest.raises(ContentsDamaged):
        await read(db, file_id, size)


async def test_contents_of_another_length_are_told(db: Database) -> None:
    file_id, _ = await write(db, b"12345", 5)
    for size in (4, 6):
        with pytest.raises(ContentsDamaged):
            await read(db, file_id, size)


async def test_removal_can_be_repeated(db: Database) -> None:
    kept, _ = await write(db, b"kept", 4)
    gone, _ = await write(db, b"x" * 1_000_000, 1_000_000)
    for _ in range(2):
        await contents.remove(db, [gone])
    assert await db["fs.files"].count_documents({}) == await db["fs.chunks"].count_documents({}) == 1
    assert await read(db, kept, 4) == b"kept"


async def test_a_measure_is_that_of_what_would_be_stored(db: Database) -> None:
    measure = Measure()
    for piece in (b"con", b"", b"tents"):
        await measure.write(piece)
    _, stored = await write(db, b"contents", 3)
    assert await measure.finish() == stored


named = st.tuples(st.text(max_size=3), st.builds(Measured, st.integers(0, 3), st.sampled_from(["a", "b"])))
uploads = st.tuples(st.text(max_size=3), st.lists(named, max_size=3))


@given(uploads, uploads)
@examples(100)
def test_fingerprints_are_the_same_for_the_same_upload_only(
    one: tuple[str, list[tuple[str, Measured]]], other: tuple[str, list[tuple[str, Measured]]]
) -> None:
    assert (idempotency.fingerprint(*one) == idempotency.fingerprint(*other)) == (one == other)

"""A backlog: messages as `append` writes them, but many in one request, and what waits to be drained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo import WriteConcern

from outbox.bench.ground import Ground
from outbox.database import OUTBOX, Document
from outbox.message.document import State, new_document
from outbox.protocol.store import Store

PAGE = 1000
WRITERS = 3
SMALL_BYTES = 200
"""The size of a message unless something else is said: fields of this many bytes."""


async def fill(
    ground: Ground, count: int, *, size: int = SMALL_BYTES, state: State = State.PENDING, pages: int = PAGE
) -> list[ObjectId]:
    """Insert `count` messages, each under a key of its own; their ids, in the order of insertion."""
    if count <= 0:
        return []
    messages = ground.database[OUTBOX].with_options(write_concern=WriteConcern(w=1, j=False))
    documents = documents_of(ground, count, size, state)
    ids: list[ObjectId] = []

    async def write() -> None:
        while page := [document for _, document in zip(range(pages), documents, strict=False)]:
            ids.extend(document["_id"] for document in page)
            await messages.insert_many(page, ordered=False)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(write())
    # A relay reads what a majority has. This write changes nothing, and waits for all that came before it.
    await ground.database[OUTBOX].update_one({"_id": ids[-1]}, {"$set": {"last_error": None}})
    # What is still to be written to disk should not slow what is measured.
    await ground.client.admin.command("fsync")
    return ids


def documents_of(
    ground: Ground, count: int, size: int = SMALL_BYTES, state: State = State.PENDING
) -> Iterator[Document]:
    """Messages as `append` would insert them, each under a key of its own."""
    stream = ground.stream
    filling = "x" * (size - 70)
    fields = {"file_id": "0" * 24, "filename": filling, "folder_id": "bench"}
    now = datetime.now(UTC)
    # Made once by the library, so that it is as the library makes it; then only what differs is exchanged.
    made = new_document(stream, fields, key="k", headers=None, available_at=None, now=now, max_bytes=1 << 20)
    made["state"] = state.value
    if state is State.PUBLISHED:
        made |= {"published_at": now, "batch": 0, "tag": "0" * 16, "attempts": 1}
    for _ in range(count):
        message_id = ObjectId()
        key = str(message_id)
        yield {**made, "_id": message_id, "key": key, "partition": stream.partition_of(key)}


async def until_drained(ground: Ground, entries: int) -> None:
    """Return when the stream has so many entries and nothing is pending any more."""
    async for length in lengths(ground):
        if length >= entries:
            break
    store = Store(ground.database)
    while await store.any_pending():
        await ground.look_again()


async def lengths(ground: Ground) -> AsyncIterator[int]:
    """The stream's length, again and again."""
    while True:
        yield int(await ground.redis.xlen(ground.stream.key))
        await ground.look_again()


def pages_of(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

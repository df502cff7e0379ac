"""Changes: change streams over messages and relays, as hints of what to look at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from bson import decode_all

from outbox.database import LENIENT, OUTBOX, RELAYS, Database, Document
from outbox.message.document import State
from outbox.streams.declaration import Partition

AWAIT_MILLISECONDS = 5000
"""How long the server holds an idle request back before it answers that nothing happened."""

_PENDING: list[Document] = [
    {"$changeStream": {}},
    {
        "$match": {
            "$or": [
                {"operationType": {"$in": ["insert", "replace"]}, "fullDocument.state": State.PENDING.value},
                {"updateDescription.updatedFields.state": State.PENDING.value},
            ]
        }
    },
    {"$project": {"fullDocument.stream": 1, "fullDocument.partition": 1}},
]
_COME_AND_GO: list[Document] = [
    {"$changeStream": {}},
    {
        "$match": {
            "$or": [
                # Not the insert: only the update after it gives a relay its time, and so makes it count. The server may
                # tell of such an update, which makes a small document larger, as of a replacement.
                {"operationType": {"$in": ["delete", "replace"]}},
                {"updateDescription.updatedFields.pid": {"$exists": True}},
            ]
        }
    },
    {"$project": {"operationType": 1}},
]


async def pending_partitions(database: Database) -> AsyncIterator[set[Partition] | None]:
    """Where messages become pending from now on: a set of partitions, or None for "anywhere", without end.

    The first answer comes as soon as the stream is open, and is None: what happened before has to be looked for. The
    stream is not resumed after an error, so it cannot be behind: open it again. Raises what the server raises.
    """
    async for events in _batches(database, OUTBOX, _PENDING):
        documents = [event.get("fullDocument") for event in events]
        # An update does not say of which partition the message is, and an unusual document may not, either.
        known = [d for d in documents if d and isinstance(d.get("stream"), str) and isinstance(d.get("partition"), int)]
        if len(known) < len(documents) or not documents:
            yield None
        else:
            yield {Partition(document["stream"], document["partition"]) for document in known}


async def relays(database: Database) -> AsyncIterator[None]:
    """Yields when the stream is open, and then whenever relays come or leave."""
    async for _ in _batches(database, RELAYS, _COME_AND_GO):
        yield None


async def _batches(database: Database, collection: str, pipeline: list[Document]) -> AsyncIterator[list[Document]]:
    """The events of one server reply at a time, beginning with none: one by one, a busy stream would cost too much."""
    cursor = await database[collection].aggregate_raw_batches(
        pipeline, maxAwaitTimeMS=AWAIT_MILLISECONDS, batchSize=1000
    )
    async with cursor:
        yield []
        async for reply in cursor:
            if events := decode_all(cast(bytes, reply), LENIENT):
                yield events

"""The oldest pending message: since when what is at the head of a partition has been waiting."""

from __future__ import annotations

from datetime import UTC, datetime

from outbox.database import OUTBOX, Database, Document
from outbox.message.document import State
from outbox.protocol import records
from outbox.streams.declaration import Streams
from outbox.streams.pauses import Pauses

_AGAIN = ("available_at", "replayed_at", "retried_at", "recovered_at", "rescued_at", "returned_at")
_FIELDS = {"position": 1, **dict.fromkeys(_AGAIN, 1)}
_EVER = datetime.min.replace(tzinfo=UTC)


async def of_pending(database: Database, streams: Streams, paused: Pauses) -> tuple[datetime, str] | None:
    """Since when the message at the head of a partition has been waiting, the longest of all partitions, and which.

    It waits since it was appended, or since it became pending again by a retry, replay or its due time, or its stream
    was resumed. In a paused stream no message counts: it waits because somebody wants it to.
    """
    waiting: list[tuple[datetime, str]] = []
    for partition in await records.partitions(database):
        stream = streams.get(partition.stream)
        if stream and paused.of(stream):
            continue
        resumed = paused.resumed_at(stream) if stream else None
        pending = {
            "state": State.PENDING.value, "stream": partition.stream, "partition": partition.number,
            "position": {"$type": "timestamp"},  # one written around the library would stand at the head without one
        }  # fmt: skip
        head = database[OUTBOX].find(pending, _FIELDS).sort("position").limit(1).hint("pending")
        waiting += [(max(_waiting_since(message), resumed or _EVER), str(partition)) async for message in head]
    return min(waiting, default=None)


def _waiting_since(message: Document) -> datetime:
    times = [message["position"].as_datetime(), *(message.get(name) for name in _AGAIN)]
    return max(time for time in times if isinstance(time, datetime))

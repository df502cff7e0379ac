"""The oldest pending message: since when what is at the head of a partition has been waiting."""

from __future__ import annotations

from datetime import UTC, datetime

from outbox.database import PARTITIONS, Database, Document
from outbox.message.document import State
from outbox.message.transitions import Cause
from outbox.protocol import records
from outbox.streams.declaration import Streams
from outbox.streams.pauses import Pauses

_AGAIN = ("available_at", "replayed_at", "retried_at", "recovered_at", *(f"{cause}_at" for cause in Cause))
_FIELDS = {"_id": 0, "position": 1, **dict.fromkeys(_AGAIN, 1)}
_EVER = datetime.min.replace(tzinfo=UTC)


async def of_pending(database: Database, streams: Streams, paused: Pauses) -> tuple[datetime, str] | None:
    """Since when the message at the head of a partition has been waiting, the longest of all partitions, and which.

    It waits since it was appended, or since it became pending again by a retry, replay or its due time, or its stream
    was resumed. In a paused stream no message counts: it waits because somebody wants it to. One request, however many
    partitions there are.
    """
    # One written around the library would stand at the head without a position.
    pending = {"state": State.PENDING.value, "position": {"$type": "timestamp"}}
    heads = records.heads(database, pending, "position", _FIELDS)
    waiting: list[tuple[datetime, str]] = []
    async for one in await database[PARTITIONS].aggregate(heads):
        message, stream = one["head"], streams.get(one["stream"])
        if stream and paused.of(stream):
            continue
        resumed = paused.resumed_at(stream) if stream else None
        waiting.append((max(_waiting_since(message), resumed or _EVER), f"{one['stream']}/{one['number']}"))
    return min(waiting, default=None)


def _waiting_since(message: Document) -> datetime:
    times = [message["position"].as_datetime(), *(message.get(name) for name in _AGAIN)]
    return max(time for time in times if isinstance(time, datetime))

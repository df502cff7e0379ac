"""Changes: change streams over messages and relays. They save looking; what they miss is found by looking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

from bson import CodecOptions, Timestamp, decode_all
from bson.raw_bson import RawBSONDocument

from outbox.database import LENIENT, OUTBOX, RELAYS, Database, Document
from outbox.message.document import State
from outbox.message.poison import RAW
from outbox.streams.declaration import Partition

T = TypeVar("T", Document, RawBSONDocument)

AWAIT_MILLISECONDS = 15_000
"""How long the server holds an idle request back before it answers that nothing happened. Less than the client's
own limit for an answer."""

_COMES: Document = {"$in": [State.PENDING.value, State.SCHEDULED.value]}
_MESSAGES: list[Document] = [
    {
        "$match": {
            "$or": [
                {"operationType": {"$in": ["insert", "replace"]}, "fullDocument.state": _COMES},
                {"updateDescription.updatedFields.state": _COMES},
            ]
        }
    },
    {"$project": {"operationType": 1, "clusterTime": 1, "fullDocument": 1, "updateDescription.updatedFields.state": 1}},
]
_COME_AND_GO: list[Document] = [
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


@dataclass(frozen=True, slots=True)
class Begun:
    """A change stream is open. What happened before has to be looked for.

    All that was committed at `since` or later will be shown, in the order of commits. None: nobody knows from when on.
    """

    since: Timestamp | None


class Change(NamedTuple):
    """A message became pending at a time. `partition`: where; None: that is not known. `new`: the message as it is
    stored, if it was new, and None if it was there before. `scheduled`: it is, and nothing became pending.
    """

    at: Timestamp
    partition: Partition | None
    new: bytes | None
    scheduled: bool = False


async def pending(database: Database) -> AsyncIterator[Begun | Sequence[Change]]:
    """What becomes pending or scheduled from now on, without end.

    The stream is not resumed after an error, so it cannot be behind: open it again. Raises what the server raises.
    """
    hello = await database.command("hello")
    # In a sharded cluster a transaction's time in the stream may be later than the one from which on it is read.
    time: Timestamp | None = hello.get("operationTime") if "setName" in hello else None
    options: Document = {"startAtOperationTime": time} if time else {}
    async for events in _batches(database, OUTBOX, _MESSAGES, RAW, **options):
        yield [_change(event) for event in events] if events else Begun(time)


def _change(event: RawBSONDocument) -> Change:
    document = event.get("fullDocument")
    state = (document or event["updateDescription"]["updatedFields"])["state"]
    if state == State.SCHEDULED.value:
        return Change(event["clusterTime"], None, None, scheduled=True)
    stream, number = (document.get("stream"), document.get("partition")) if document else (None, None)
    new = bytes(document.raw) if document and event["operationType"] == "insert" else None
    # Not true, which equals 1 in Python and not in MongoDB: no fetch of partition 1 would find the message.
    if isinstance(stream, str) and isinstance(number, int) and not isinstance(number, bool):
        return Change(event["clusterTime"], Partition(stream, number), new)
    # An update does not say of which partition the message is, and an unusual document may not, either.
    return Change(event["clusterTime"], None, new)


async def relays(database: Database) -> AsyncIterator[None]:
    """Yields when the stream is open, and then whenever relays come or leave."""
    async for _ in _batches(database, RELAYS, _COME_AND_GO, LENIENT):
        yield None


async def _batches(
    database: Database, collection: str, pipeline: list[Document], decoding: CodecOptions[T], **options: Any
) -> AsyncIterator[list[T]]:
    """The events of one server reply at a time, beginning with none: one by one, a busy stream would cost too much."""
    cursor = await database[collection].aggregate_raw_batches(
        [{"$changeStream": options}, *pipeline], maxAwaitTimeMS=AWAIT_MILLISECONDS, batchSize=1000
    )
    async with cursor:
        yield []
        async for reply in cursor:
            if events := decode_all(cast(bytes, reply), decoding):
                yield events

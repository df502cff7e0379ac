"""Places: among which entries of its stream a published message stands, by its record and by what is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bson import ObjectId, Timestamp
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from redis.exceptions import ResponseError

from outbox.database import OUTBOX, Database, Document
from outbox.delivery.entries import Entries, not_there
from outbox.message.document import Sent, State, by_attempt, is_ours
from outbox.message.outcome import COUNTED
from outbox.protocol.settled import NEEDED
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Partition, Stream
from outbox.streams.entry_ids import EntryId, Range

PAGE = 500

Ends = tuple[str, str]
"""The first and the last of the entries among which a message stands."""

READ = NEEDED | dict.fromkeys(("state", "published_at", "entries", "batch", "rescued", "replayed", *COUNTED), 1)
"""What is read of a published message."""


def published(messages: AsyncCollection[Document], partition: Partition, **where: Any) -> AsyncCursor[Document]:
    """In the order of batches, which is that of the stream. Also such as `is_published` says no of."""
    query = {"state": State.PUBLISHED.value, "stream": partition.stream, "partition": partition.number}
    return messages.find({**query, **where}, READ, batch_size=PAGE).sort("batch").hint("published")


def is_published(message: Document) -> bool:
    """Whether a relay can have published it: no for one that others wrote as published."""
    return is_ours(message) and "attempts" in message


def sent(message: Document) -> Sent:
    return Sent(message["_id"], message["attempts"])


def position(message: Document) -> Timestamp:
    """By which the messages of one batch are in order."""
    at = message.get("position")
    return at if isinstance(at, Timestamp) else Timestamp(0, 0)


def ends(message: Document) -> Ends | None:
    """None: not on record."""
    entries = message.get("entries")
    return (entries["first"], entries["last"]) if isinstance(entries, dict) else None


def is_ahead(message: Document, place: EntryId) -> bool:
    """Whether its entry certainly comes after `place`."""
    found = ends(message)
    return found is not None and EntryId.parse(found[0]) > place


def batch(message: Document) -> Ends | None:
    """The entries of its batch, of which it is not known which one is whose. None: no others, or not of one batch."""
    found = ends(message)
    if found is None or message["entries"].get("mixed"):
        return None
    first, last = map(EntryId.parse, found)
    # Those of one batch have one time. Ranges that an earlier version recorded for several batches nearly never have.
    return found if first.milliseconds == last.milliseconds and first < last else None


async def delivered(redis: AnyRedis, stream: Stream) -> EntryId | None:
    """How far the group has come. None: it is not there, which is for recovery to deal with."""
    try:
        groups: list[Document] = await redis.xinfo_groups(stream.key)
    except ResponseError as error:
        if not_there(error):
            return None
        raise
    return next((EntryId.parse(group["last-delivered-id"]) for group in groups if group["name"] == stream.group), None)


async def find(entries: Entries, stream: Stream, messages: Iterable[Document]) -> dict[ObjectId, str]:
    """The ids of the messages' entries, of their last attempts, where they are still there."""
    messages = list(messages)
    sought = {sent(message) for message in messages}
    recorded = (found for message in messages if (found := ends(message)))
    places: dict[ObjectId, str] = {}
    async for page in entries.walk_all(stream, recorded):
        places |= {entry.sent.id: entry.id for entry in page if entry.sent and entry.sent in sought}
    return places


async def locate(database: Database, entries: Entries, stream: Stream) -> int:
    """Record the entries of each published message that stands in the stream, where they are not on record.

    Returns of how many. One walk over the stream; nothing is recorded of what is not there.
    """
    located = 0
    async for page in entries.walk(stream, "-", "+"):
        for attempt, ids in by_attempt(entry.sent for entry in page if entry.sent).items():
            unknown = {"state": State.PUBLISHED.value, "attempts": attempt, "entries": {"$exists": False}}
            values = {"entries": Range(page[0].id, page[-1].id, mixed=True).record}
            result = await database[OUTBOX].update_many({"_id": {"$in": ids}, **unknown}, {"$set": values})
            located += result.modified_count
    return located

"""Timed statements on messages: stage what is due, bury what nobody drains, prune what nobody needs any more."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from bson import ObjectId

from outbox.clock import server_time
from outbox.losses import wanted
from outbox.message import State
from outbox.schema import OUTBOX, PARTITIONS, Database, Document
from outbox.streams import Streams

PAGE = 1000


async def stage(database: Database) -> int:
    """Make scheduled messages pending whose time has come, by the server's clock; returns how many."""
    result = await database[OUTBOX].update_many(
        {"state": State.SCHEDULED.value, "$expr": {"$lte": ["$available_at", "$$NOW"]}},
        {"$set": {"state": State.PENDING.value}},
        hint="scheduled",
    )
    return result.modified_count


async def strays(database: Database) -> list[Document]:
    """The queries that find pending messages which belong to no partition there is.

    Such a message was written around the library, or for a stream that `outbox init` has never heard of.
    """
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    async for partition in database[PARTITIONS].find({}, {"stream": 1, "number": 1}):
        numbers[partition["stream"]].append(partition["number"])
    elsewhere: list[Document] = [{"stream": {"$nin": list(numbers)}}]
    elsewhere += [{"stream": stream, "partition": {"$nin": known}} for stream, known in numbers.items()]
    return [{"state": State.PENDING.value, **where} for where in elsewhere]


async def bury_strays(database: Database) -> int:
    """Make strays dead, so that none waits in silence; returns how many."""
    buried = 0
    for stray in await strays(database):
        result = await database[OUTBOX].update_many(
            stray,
            {
                "$set": {
                    "state": State.DEAD.value,
                    "last_error": "no relay drains this stream and partition: declare the stream in OUTBOX_STREAMS, "
                    "run `outbox init`, and retry",
                },
                "$currentDate": {"died_at": True},
            },
            bypass_document_validation=True,
            hint="pending",
        )
        buried += result.modified_count
    return buried


async def prune(database: Database, streams: Streams, *, older_than: timedelta) -> int:
    """Delete completed messages, and published ones that are no longer wanted, past retention; returns how many.

    Dead messages stay until an operator retries or discards them. So do published ones that are still wanted: they are
    what recovery is for. One pass walks by `_id`, which begins with the time of the append, in pages: it reads what is
    past retention and nothing else, and its memory does not grow with the outbox.
    """
    pruned = 0
    limit = await server_time(database) - older_than
    last, end = ObjectId(b"\0" * 12), ObjectId.from_datetime(limit)
    while True:
        query = {
            "_id": {"$gt": last, "$lt": end},
            "state": {"$in": _PRUNABLE},
            # Replayed since, perhaps; a message that was completed before it was marked has no such time.
            "published_at": {"$not": {"$gte": limit}},
        }
        wanted_fields = {"stream": 1, "key": 1, "state": 1}
        page = await database[OUTBOX].find(query, wanted_fields).sort("_id").limit(PAGE).to_list()
        if not page:
            return pruned
        last = page[-1]["_id"]
        gone = [message["_id"] for message in page if message["state"] == State.COMPLETED.value]
        for stream in streams.values():
            published = [m for m in page if m["state"] == State.PUBLISHED.value and m["stream"] == stream.name]
            if stream.subject and published:
                unsettled = await wanted(database, stream.subject, [message["key"] for message in published])
                gone += [message["_id"] for message in published if message["key"] not in unsettled]
        result = await database[OUTBOX].delete_many({"_id": {"$in": gone}, "state": {"$in": _PRUNABLE}})
        pruned += result.deleted_count


_PRUNABLE = [State.COMPLETED.value, State.PUBLISHED.value]

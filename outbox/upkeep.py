"""Timed statements on messages: stage what is due, prune what nobody needs any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from outbox.losses import wanted
from outbox.message import State
from outbox.schema import OUTBOX, Database
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


async def prune(database: Database, streams: Streams, *, older_than: timedelta) -> int:
    """Delete completed messages, and published ones that are no longer wanted, past retention; returns how many.

    Dead messages stay until an operator retries or discards them. So do published ones that are still wanted: they are
    what recovery is for. One pass walks by `_id`, in pages, so that its memory does not grow with the outbox.
    """
    pruned = 0
    now: datetime = (await database.command("hello"))["localTime"]
    limit = (now if now.tzinfo else now.replace(tzinfo=UTC)) - older_than
    for stream in streams.values():
        last = None
        while True:
            query = {
                "stream": stream.name,
                "state": {"$in": [State.COMPLETED.value, State.PUBLISHED.value]},
                "created_at": {"$lt": limit},
                "published_at": {"$lt": limit},
                **({"_id": {"$gt": last}} if last else {}),
            }
            page = await database[OUTBOX].find(query, {"key": 1, "state": 1}).sort("_id").limit(PAGE).to_list()
            if not page:
                break
            last = page[-1]["_id"]
            published = [m["key"] for m in page if m["state"] == State.PUBLISHED.value]
            unsettled = await wanted(database, stream.subject, published)
            gone = [
                m["_id"]
                for m in page
                if m["state"] == State.COMPLETED.value or (stream.subject and m["key"] not in unsettled)
            ]
            result = await database[OUTBOX].delete_many(
                {"_id": {"$in": gone}, "state": {"$in": [State.COMPLETED.value, State.PUBLISHED.value]}}
            )
            pruned += result.deleted_count
    return pruned

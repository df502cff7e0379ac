"""History: the system in numbers, once a minute, kept for a day, for who looks after something has happened.

Every relay may record it: the first that comes to a minute does, and the others find it done. So a minute costs one
document whatever the number of relays, and there are 1,440 of them.
"""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from outbox.database import HISTORY, OUTBOX, Database, Document
from outbox.delivery import groups
from outbox.operations import delays, stats
from outbox.servers.clock import id_at, server_time
from outbox.servers.topology import AnyRedis
from outbox.streams import registry
from outbox.streams.declaration import Streams

INTERVAL = timedelta(minutes=1)
KEPT = timedelta(hours=24)
COUNTED = 1_000_000
"""Appended messages of a minute are counted so far."""


@dataclass(frozen=True, slots=True)
class Minute:
    """What was so at a moment; None: it was not known, as while Redis was away.

    `appended`: messages of the minute before, by the appending processes' clocks. `added`: entries that were ever
    added to the streams in Redis; it falls when Redis loses data. `median` and `longest`: seconds from append to entry
    of the newest messages.
    """

    at: datetime
    appended: int
    added: int | None
    pending: int
    scheduled: int
    dead: int
    oldest: float
    undelivered: int | None
    unacknowledged: int | None
    median: float | None
    longest: float | None


async def record(database: Database, redis: AnyRedis) -> int:
    """Put the present minute on record, unless a relay has. Returns of how many minutes it did.

    May be called at any time, by any number of relays. An error of MongoDB is raised; that Redis is away is recorded.
    """
    now = await server_time(database)
    minute = now.replace(second=0, microsecond=0)
    history = database[HISTORY]
    streams = None if await history.find_one({"_id": minute}, {"_id": 1}) else await registry.read(database)
    if streams is None:
        return 0
    document = await _measured(database, redis, streams, now)
    with suppress(DuplicateKeyError):  # another relay was faster
        await history.insert_one({"_id": minute, **document})
        return 1
    return 0


async def read(database: Database) -> list[Minute]:
    """What is on record of the last 24 hours by the server's clock, the earliest first."""
    lately = {"$expr": {"$gte": ["$at", {"$subtract": ["$$NOW", int(KEPT.total_seconds() * 1000)]}]}}
    found = await database[HISTORY].find(lately, {"_id": 0}).sort("_id", 1).to_list()
    return [Minute(**_named(document)) for document in found]


def _named(document: Document) -> dict[str, Any]:
    """What this version knows of a minute: the next one may record more."""
    return {name: document.get(name) for name in Minute.__slots__}


async def _measured(database: Database, redis: AnyRedis, streams: Streams, now: datetime) -> Document:
    waiting = await stats.waiting(database, streams)
    minute = now.replace(second=0, microsecond=0)
    took = await delays.of_newest(database, now - INTERVAL)
    return {
        "at": now,
        "appended": await _appended(database, minute - INTERVAL, minute),
        "pending": waiting.pending, "scheduled": waiting.scheduled, "dead": waiting.dead,
        "oldest": round(waiting.oldest_pending_seconds or 0.0, 1),
        "median": round(statistics.median(took), 4) if took else None,
        "longest": round(max(took), 4) if took else None,
        **await _in_redis(redis, streams),
    }  # fmt: skip


async def _appended(database: Database, since: datetime, until: datetime) -> int:
    ids = {"_id": {"$gte": id_at(since), "$lt": id_at(until)}}
    # The command, and not an aggregation: it reads the index alone.
    reply = await database.command("count", database[OUTBOX].name, query=ids, limit=COUNTED)
    return int(reply["n"])


async def _in_redis(redis: AnyRedis, streams: Streams) -> Document:
    if not (await stats.glance(redis)).reachable:
        return {"added": None, "undelivered": None, "unacknowledged": None}
    readers = (await groups.collect(redis, streams)).values()
    read = [group for reader in readers for group in reader.groups if group.declared]
    return {
        "added": sum(reader.added or 0 for reader in readers),
        "undelivered": sum(group.undelivered or 0 for group in read),
        "unacknowledged": sum(group.unacknowledged for group in read),
    }  # fmt: skip

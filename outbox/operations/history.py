"""History: the system in numbers, once a minute, kept for a day, to be read after something has happened.

Every relay may record it: the first that comes to a minute does, and the others find it done. So a minute costs one
document whatever the number of relays, and there are 1,440 of them.
"""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import FiniteFloat, TypeAdapter
from pymongo.errors import DuplicateKeyError

from outbox.database import HISTORY, LENIENT, OUTBOX, Database, Document
from outbox.delivery import groups
from outbox.operations import delays, stats
from outbox.operations.records import readable
from outbox.servers.clock import id_at, server_time
from outbox.servers.topology import AnyRedis
from outbox.streams import registry
from outbox.streams.declaration import Streams

INTERVAL = timedelta(minutes=1)
KEPT = timedelta(hours=24)
COUNTED = 1_000_000
"""At most so many appended messages of a minute are counted."""


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
    oldest: FiniteFloat
    undelivered: int | None
    unacknowledged: int | None
    median: FiniteFloat | None
    longest: FiniteFloat | None


_MINUTE = TypeAdapter(Minute)


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
    """What is on record of the last 24 hours by the server's clock, the earliest first.

    Left out is what no relay writes, and what was recorded while the clock was ahead.
    """
    since = {"$subtract": ["$$NOW", int(KEPT.total_seconds() * 1000)]}
    lately = {"$expr": {"$and": [{"$gte": ["$at", since]}, {"$lte": ["$at", "$$NOW"]}]}}
    # What this version knows of a minute: the next one may record more.
    fields = {"_id": 0, **dict.fromkeys(Minute.__slots__, 1)}
    found = database[HISTORY].with_options(codec_options=LENIENT).find(lately, fields).sort("_id", 1)
    return await readable(found, understood)


def understood(document: Document) -> Minute:
    """What a document records. Raises ValueError when that cannot be read."""
    return _MINUTE.validate_python({name: document.get(name) for name in Minute.__slots__})


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
        "added": groups.added(readers),
        "undelivered": sum(group.undelivered or 0 for group in read),
        "unacknowledged": sum(group.unacknowledged for group in read),
    }  # fmt: skip

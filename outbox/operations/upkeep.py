"""Timed statements on messages: stage what is due, bury what nobody drains, prune what nobody needs any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

import pymongo
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import ExecutionTimeout, NetworkTimeout, PyMongoError

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.message import transitions
from outbox.message.document import State, is_ours
from outbox.message.poison import RAW, bury_all
from outbox.message.transitions import PRUNABLE
from outbox.protocol import fences, records
from outbox.protocol.settled import NEEDED, settled
from outbox.servers.clock import id_at, server_time
from outbox.servers.latest import as_of_now
from outbox.servers.paging import in_pages
from outbox.streams import known
from outbox.streams.declaration import Streams

PAGE = 1000
STAGE_SECONDS = 2.0
"""How long the staging of all that is due may take. After that it goes on in pages."""
STAGE_PAGE, STAGE_PAGE_SECONDS = 1000, 0.5
STRAY = "no relay drains this stream and partition: declare the stream in OUTBOX_STREAMS, run `outbox init`, and retry"
NO_PARTITION = (
    "its stream is registered without this partition: the program that appended it declares another number of "
    "partitions. Correct it (Outbox.check says both numbers), or `outbox streams change STREAM --partitions NUMBER` to "
    "the one that it declares, and retry"
)
_EARLIEST = DatetimeMS(-(2**63))
TIMELESS = "available_at must be a date: a retry publishes it at once"


async def stage(database: Database) -> int:
    """Make scheduled messages pending whose time has come, by the server's clock; returns how many, as far as is known.

    One that a transaction of others has locked, so that it cannot be changed, holds up none but itself.
    """
    try:
        with pymongo.timeout(STAGE_SECONDS):
            return (await database[OUTBOX].update_many(*transitions.stage(), hint="scheduled")).modified_count
    except PyMongoError as error:
        if not error.timeout:
            raise
    return await _stage_in_pages(database)


async def _stage_in_pages(database: Database) -> int:
    """The same for what one statement had no time for; each page of which one is locked is done one by one."""
    guard, change = transitions.stage()
    messages = database[OUTBOX]
    raw = cast(AsyncCollection[RawBSONDocument], messages.with_options(codec_options=RAW))
    staged = 0
    async with raw.find(guard, {"_id": 1}).hint("scheduled") as due:
        async for page in in_pages(due, STAGE_PAGE):
            try:
                staged += await _stage_some(messages, guard | {"$or": page}, change)
            except PyMongoError as error:
                if not error.timeout or not await fences.writes(messages):
                    raise
                for identity in page:
                    with suppress(ExecutionTimeout, NetworkTimeout):
                        staged += await _stage_some(messages, guard | {"$and": [identity]}, change)
    return staged


async def _stage_some(messages: AsyncCollection[Document], guard: Document, change: Any) -> int:
    with pymongo.timeout(STAGE_PAGE_SECONDS):
        return (await messages.update_many(guard, change, hint="_id_")).modified_count


async def until_due(database: Database) -> float | None:
    """Seconds until a scheduled message is due, by the server's clock; 0 or less: one is. None: none is scheduled."""
    timed = {"state": State.SCHEDULED.value, "available_at": {"$gte": _EARLIEST}}
    messages = database[OUTBOX].with_options(codec_options=LENIENT)
    found = await messages.find_one(
        timed, {"_id": 0, "available_at": 1, "now": "$$NOW"}, sort={"available_at": 1}, hint="scheduled"
    )
    if found is None:
        return None
    due = found["available_at"]
    if not isinstance(due, datetime | DatetimeMS):  # a list of times, which is for `bury_strays`
        return 0.0
    return (_milliseconds(due) - _milliseconds(found["now"])) / 1000


def _milliseconds(time: datetime | DatetimeMS) -> int:
    return int(DatetimeMS(time) if isinstance(time, datetime) else time)


async def strays(database: Database) -> list[Document]:
    """The queries that find pending messages which belong to no partition there is.

    Such a message was written around the library, or for a stream that `outbox init` has never heard of. Not one of a
    stream that is registered, or may be by a document that cannot be understood, while the lease of its partition is
    missing; nor any while there is no partition at all: somebody has deleted what `outbox init` makes, or is about to
    restore it.
    """
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    async with as_of_now(database) as session:
        # What is appended from here on may be for a stream, or a partition, that is registered meanwhile.
        asked = session.operation_time
        partitions = [*await records.partitions(database, session)]
        found = await known.read(database, session)
    registered = found.streams
    partitions += registered.partitions() if registered else ()
    if not partitions:
        return []
    for partition in partitions:
        numbers[partition.stream].append(partition.number)
    others = found.others()  # of which nobody here knows the partitions, such as those of a later version
    elsewhere: list[Document] = [{"stream": {"$nin": [*numbers, *others]}}]
    elsewhere += [
        {"stream": stream, "partition": {"$nin": theirs}}
        for stream, theirs in numbers.items()
        if not any(other.match(stream) for other in others)
    ]
    before = {"state": State.PENDING.value, **({"position": {"$not": {"$gt": asked}}} if asked else {})}
    return [{**before, **where} for where in elsewhere]


async def bury_strays(database: Database) -> int:
    """Make messages dead that would wait in silence for ever; returns how many.

    Strays, and scheduled messages without a time that could come.
    """
    messages = database[OUTBOX]
    buried = 0
    for stray in await strays(database):
        reason = NO_PARTITION if "partition" in stray else STRAY
        buried += await bury_all(messages, stray, State.PENDING, reason)
    # A list of times is found once one of them has come.
    timeless: list[Document] = [
        {"available_at": {"$not": {"$gte": _EARLIEST}}},
        {"available_at": {"$lte": await server_time(database)}, "$expr": {"$isArray": "$available_at"}},
    ]
    return buried + sum([await bury_all(messages, query, State.SCHEDULED, TIMELESS) for query in timeless])


async def prune(database: Database, streams: Streams, *, older_than: timedelta) -> int:
    """Delete completed messages, and published ones that are settled, past retention; returns how many.

    Dead messages stay until an operator retries or discards them. So do published ones that are still wanted: they are
    what recovery is for. One pass walks by `_id`, which begins with the time of the append, in pages: it reads what is
    past retention and nothing else, and its memory does not grow with the outbox.
    """
    pruned = 0
    limit = await server_time(database) - older_than
    last, end = ObjectId(b"\0" * 12), id_at(limit)
    messages = database[OUTBOX].with_options(codec_options=LENIENT)
    needed = {"stream": 1, "state": 1, "attempts": 1, **NEEDED}
    while True:
        query = {
            "_id": {"$gt": last, "$lt": end},
            "state": {"$in": PRUNABLE},
            # Replayed since, perhaps; a message that was completed before it was marked has only the other one. An
            # adopted one may be as old as its entry, which is adopted again if its message is gone too soon.
            "published_at": {"$not": {"$gte": limit}},
            "completed_at": {"$not": {"$gte": limit}},
        }
        page = await messages.find(query, needed).sort("_id").limit(PAGE).to_list()
        if not page:
            return pruned
        last = page[-1]["_id"]
        for attempt, ids in (await _done(database, streams, page)).items():
            pruned += (await messages.delete_many(transitions.prune(ids, attempt))).deleted_count


async def _done(database: Database, streams: Streams, page: Sequence[Document]) -> dict[int | None, list[ObjectId]]:
    """Those of a page that are completed or settled, by their attempts; None: what is there is no whole number."""
    done = {message["_id"] for message in page if message["state"] == State.COMPLETED.value}
    for stream in streams.values():
        published = [m for m in page if m["state"] == State.PUBLISHED.value and m.get("stream") == stream.name]
        done |= await settled(database, stream.subject, published)
    found: defaultdict[int | None, list[ObjectId]] = defaultdict(list)
    for message in page:
        if message["_id"] in done:
            found[message.get("attempts") if is_ours(message) else None].append(message["_id"])
    return found

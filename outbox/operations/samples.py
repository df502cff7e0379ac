"""Samples: the whole system at one moment, for who watches it over time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pymongo
from bson import ObjectId

from outbox.database import FILES, Database
from outbox.delivery import groups
from outbox.delivery.groups import Readers
from outbox.message import pages
from outbox.operations import downtime, jobs, stats
from outbox.operations.delays import of_newest
from outbox.operations.downtime import Downtime
from outbox.operations.jobs import Job
from outbox.operations.stats import MONGO_SECONDS, Status
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Streams
from outbox_api.uploads.records import QUEUED

WAITING = 5
JOBS = 5


@dataclass(frozen=True, slots=True)
class Queued:
    """A file that waits to be parsed. `since`: its record was last written then."""

    id: ObjectId
    filename: str | None
    folder_id: str | None
    message_id: ObjectId | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Sample:
    """`kept`: messages that MongoDB has; `added`: entries that were ever added to the streams, None when not known.

    `delays`: seconds from append to publication of those of the newest messages that were published since the sample
    before; the appending process's clock has a part in them. `queued`: the files that have waited longest; `jobs`:
    the latest replays; `outages`: those that are over.
    """

    status: Status
    readers: Mapping[str, Readers]
    kept: int
    added: int | None
    delays: tuple[float, ...]
    queued: tuple[Queued, ...]
    jobs: tuple[Job, ...]
    outages: tuple[Downtime, ...]
    kin: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The streams of each declared one: those of its groups, priorities and shards."""

    @property
    def at(self) -> datetime:
        return self.status.at


async def take(database: Database, redis: AnyRedis, streams: Streams, *, since: datetime | None) -> Sample:
    """A sample, `since` the one before. An error of MongoDB is raised; that Redis does not answer is a part of it."""
    status, readers = await asyncio.gather(
        stats.collect(database, redis, streams), groups.collect(redis, streams)
    )  # fmt: skip
    added = groups.added(readers.values()) if status.queue.reachable else None
    since = since or status.at - timedelta(minutes=1)
    with pymongo.timeout(MONGO_SECONDS):
        delays, queued, replays, outages = await asyncio.gather(
            of_newest(database, since), _queued(database), jobs.latest(database, JOBS), downtime.latest(database)
        )
    return Sample(
        status, readers, sum(status.messages.values()), added,
        delays, queued, tuple(replays), tuple(outages), _kin(streams),
    )  # fmt: skip


def _kin(streams: Streams) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for stream in streams.values():
        found.setdefault(stream.topic or stream.family, []).append(stream.name)
    return {name: tuple(members) for name, members in found.items()}


async def _queued(database: Database) -> tuple[Queued, ...]:
    fields = {"filename": 1, "folder_id": 1, "message_id": 1, "updated_at": 1}
    found, _ = await pages.read(
        database[FILES], {"parsing": QUEUED}, limit=WAITING, fields=fields, newest_first=False, large=pages.SMALL
    )
    return tuple(
        [
            Queued(f["_id"], f.get("filename"), f.get("folder_id"), f.get("message_id"), f["updated_at"])
            for f in found
            if isinstance(f.get("updated_at"), datetime)
        ]
    )

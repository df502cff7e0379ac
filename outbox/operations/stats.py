"""What is going on: messages by state, streams, partitions, relays. Asked from both servers, cheap with millions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pymongo
from redis.exceptions import NoPermissionError, RedisError

from outbox.database import LENIENT, PARTITIONS, RELAYS, Database, Document
from outbox.delivery import held, trim
from outbox.delivery.depth import Depth, depth_of
from outbox.delivery.evidence import unaccounted
from outbox.delivery.held import Holding
from outbox.errors import Owner
from outbox.message.document import State
from outbox.operations import counts, obstacles, oldest, recoveries, workers
from outbox.operations.messages import plain
from outbox.operations.obstacles import Obstacle
from outbox.operations.recoveries import Recovery
from outbox.operations.workers import Worker
from outbox.protocol import records
from outbox.protocol.ownership import own, refused
from outbox.servers import causes, eviction
from outbox.servers.causes import Cause
from outbox.servers.clock import server_time
from outbox.servers.few import few_connections
from outbox.servers.topology import AnyRedis
from outbox.streams import pauses
from outbox.streams.declaration import Streams
from outbox.streams.pauses import Pause, Pauses

MONGO_SECONDS = 5.0
REDIS_SECONDS = 2.0
"""How long Redis may be silent: with many streams, all its answers together take longer."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The declared streams as Redis has them, with what is held for long. Unless `reachable`, nothing is known.

    `cause`: why Redis does not do all that it is asked.
    """

    streams: Mapping[str, Depth]
    reachable: bool
    cause: Cause | None = None
    eviction_policy: str | None = None
    warnings: tuple[str, ...] = ()
    held: tuple[Holding, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at a glance. `at` and all ages are by the database server's clock."""

    at: datetime
    messages: Mapping[State, int]
    oldest_pending_seconds: float | None
    queue: Queue
    partitions: tuple[Document, ...]
    relays: tuple[Document, ...]
    recoveries: tuple[Recovery, ...]
    redis_prefix: str = ""
    paused: tuple[Pause, ...] = ()
    workers: tuple[Worker, ...] = ()
    oldest_partition: str | None = None
    """Of the oldest pending message."""
    bounds: Mapping[State, str] = field(default_factory=dict)
    """Of which states the number of messages is not exact, see `counts`."""

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """What keeps relays from their work, by their own word. Not what this program has found itself of Redis."""
        return tuple(
            one for one in obstacles.of_relays(self.relays) if not (one.server == "redis" and self.queue.cause)
        )

    def as_json(self) -> dict[str, Any]:
        return {
            **plain({"at": self.at}),
            "messages": {state.value: count for state, count in self.messages.items()},
            "bounds": {state.value: bound for state, bound in self.bounds.items()},
            "oldest_pending_seconds": self.oldest_pending_seconds,
            "oldest_pending_partition": self.oldest_partition,
            "streams": {name: depth.as_json() for name, depth in self.queue.streams.items()},
            "partitions": [plain(partition) for partition in self.partitions],
            "relays": [plain(relay) for relay in self.relays],
            "held": [holding.as_json() for holding in self.queue.held],
            "workers": [worker.as_json() for worker in self.workers],
            "paused": [plain(pause.as_json()) for pause in self.paused],
            "recoveries": [recovery.as_json() for recovery in self.recoveries],
            "redis": {
                "reachable": self.queue.reachable,
                "error": str(self.queue.cause) if self.queue.cause else None,
                "eviction_policy": self.queue.eviction_policy,
                "prefix": self.redis_prefix,
                "warnings": list(self.queue.warnings),
            },
        }


async def collect(database: Database, redis: AnyRedis, streams: Streams) -> Status:
    """The status now. That Redis does not answer is a part of it; an error of MongoDB is raised.

    The numbers are not of one moment: while messages flow, their sum may be off by what moved meanwhile.
    """
    readable = database.reading(LENIENT)
    with pymongo.timeout(MONGO_SECONDS):
        paused = await pauses.read(readable)
    depths = await queue(redis, streams, await own(database), paused)
    if depths.reachable:
        depths = replace(depths, warnings=(*depths.warnings, *await _unaccounted(readable, redis, streams)))
    with pymongo.timeout(MONGO_SECONDS):
        now = await server_time(readable)
        head = await oldest.of_pending(readable, streams, paused)
        # A position is cut to the second, and a clock may be set back.
        age = max(0.0, round((now - head[0]).total_seconds(), 3)) if head else None
        partitions, relays = await _partitions(readable), await _relays(readable)
        lost, seen = tuple(await recoveries.latest(readable)), await workers.read(readable)
        # Last: what is not counted when the time is over is known well enough.
        found = await counts.by_state(readable)
        return Status(
            now, found.messages, age, depths, partitions, relays, lost, streams.prefix, tuple(paused.paused.values()),
            seen, head[1] if head else None, found.bounds,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in MongoDB: messages by state, counted as `counts` does, and how long the oldest pending one does, of
    the streams that are not paused."""

    scheduled: int
    pending: int
    dead: int
    oldest_pending_seconds: float | None


async def waiting(database: Database, streams: Streams) -> Waiting:
    """Read from the states' own indexes, each of which holds what waits and no more."""
    states = (State.SCHEDULED, State.PENDING, State.DEAD)
    scheduled, pending, dead = [(await counts.in_state(database, state, MONGO_SECONDS))[0] for state in states]
    # Nearly always nothing is: then a question for each partition would be asked for nothing.
    head = await oldest.of_pending(database, streams, streams.pauses) if pending else None
    age = max(0.0, (await server_time(database) - head[0]).total_seconds()) if head else None
    return Waiting(scheduled, pending, dead, age)


async def queue(redis: AnyRedis, streams: Streams, ours: Owner | None = None, paused: Pauses | None = None) -> Queue:
    """What Redis has of each declared stream. Never raises because of Redis.

    :param ours: the outbox that the streams should belong to; None does not look.
    :param paused: the pauses, if they were read later than the streams.
    """

    async def look(few: AnyRedis) -> Queue:
        return await _queue(few, streams, ours, paused or streams.pauses, await eviction.policy(redis))

    return await _or_cause(redis, look, streams)


async def glance(redis: AnyRedis) -> Queue:
    """Whether Redis answers, and how it is set up: one command to each primary, and nothing about the streams."""

    async def look(_: AnyRedis) -> Queue:
        policy = await eviction.policy(redis)
        return Queue({}, True, None, policy, tuple(eviction.warnings(policy)))

    return await _or_cause(redis, look, ())


async def _or_cause(redis: AnyRedis, look: Callable[[AnyRedis], Awaitable[Queue]], streams: Iterable[str]) -> Queue:
    try:
        async with few_connections(redis, REDIS_SECONDS) as few:
            return await look(few)
    except TimeoutError:
        what = f"Redis does not answer within {REDIS_SECONDS:g} s"
        cause = Cause(what, "See whether it runs, and what it is busy with (SLOWLOG).", True)
    except (RedisError, OSError) as error:
        cause = causes.explain(error)
    return Queue({name: Depth() for name in streams}, reachable=False, cause=cause)


async def _queue(redis: AnyRedis, streams: Streams, ours: Owner | None, paused: Pauses, policy: str | None) -> Queue:
    found = await asyncio.gather(*(depth_of(redis, stream) for stream in streams.values()), return_exceptions=True)
    depths: dict[str, Depth] = {}
    failed: list[Cause] = []
    for stream, one in zip(streams, found, strict=True):
        match one:
            case Depth():
                depths[stream] = one
            case RedisError() | OSError():  # a key of another type, no permission, or a shard that is away
                depths[stream] = Depth()
                cause = causes.explain(one)
                failed.append(replace(cause, detail=f"{stream}: {cause.detail}" if cause.detail else stream))
            case BaseException():
                raise one
    foreign, unread = await _foreign(redis, streams, ours) if ours and not failed else ([], [])
    failed += foreign
    warnings = (*eviction.warnings(policy), *unread, *await _abandoned_groups(redis, streams))
    return Queue(depths, True, _worst(failed), policy, warnings, await _held(redis, streams, paused))


async def _foreign(redis: AnyRedis, streams: Streams, ours: Owner) -> tuple[list[Cause], list[str]]:
    """Why streams of another outbox are left alone, and what is to be said where that cannot be read."""
    try:
        errors = await refused(redis, streams.values(), ours)
    except NoPermissionError:
        return [], [
            "whose streams these are cannot be read from Redis: allow the command HMGET, as docs/security.md lists it"
        ]
    return [Cause(_capital(error.what), error.do, False, error.hosts) for error in errors], []


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _worst(failed: Sequence[Cause]) -> Cause | None:
    """Of several, the one that does not pass by itself."""
    return min(failed, key=lambda cause: cause.passes, default=None)


async def _held(redis: AnyRedis, streams: Streams, paused: Pauses) -> tuple[Holding, ...]:
    found = await asyncio.gather(*(held.collect(redis, stream) for stream in streams.values()), return_exceptions=True)
    # An error has been told with the stream's numbers already.
    holdings = (holding for one in found if not isinstance(one, BaseException) for holding in one)
    # In its own group, what a paused stream's consumers hold is left with them until it is resumed.
    return tuple(one for one in holdings if not (one.own and paused.of(streams[one.stream])))


async def _abandoned_groups(redis: AnyRedis, streams: Streams) -> list[str]:
    asked = (trim.stragglers(redis, stream) for stream in streams.values() if stream.trim)
    found = await asyncio.gather(*asked, return_exceptions=True)
    # An error has been told with the stream's numbers already; or whoever asks may not run scripts.
    behind = (straggler for one in found if not isinstance(one, BaseException) for straggler in one)
    return [str(straggler) for straggler in behind if straggler.abandoned]


async def _unaccounted(database: Database, redis: AnyRedis, streams: Streams) -> list[str]:
    """Messages of which nobody knows whether they are done. An error of Redis is in the stream's numbers already."""
    with suppress(RedisError, OSError):
        return [
            f"{count} message(s) of stream {name!r} have no entry any more, and nobody is known to have acknowledged "
            "them: `outbox verify` names them, and what to do"
            for name, count in (await unaccounted(database, redis, streams.values())).items()
        ]
    return []


async def _partitions(database: Database) -> tuple[Document, ...]:
    """Each partition with its owner, and for how long the lease still runs by the server's clock."""
    fields = {"_id": 0, "stream": 1, "number": 1, "owner": 1, "token": 1, "batch": 1, "expires_in_seconds": _REMAINING}
    found = await database[PARTITIONS].aggregate([_SOUND, {"$sort": {"stream": 1, "number": 1}}, {"$project": fields}])
    return tuple(await found.to_list())


async def _relays(database: Database) -> tuple[Document, ...]:
    """The relays that are alive, with what each tells about itself."""
    found = await database[RELAYS].aggregate(
        [
            {"$match": {"$expr": records.SOUND_RELAY}},
            {"$set": {"id": "$_id", "expires_in_seconds": _REMAINING}},
            {"$match": {"expires_in_seconds": {"$gt": 0}}},
            {"$sort": {"_id": 1}},
            {"$unset": ["_id", "expires_at"]},
        ]
    )
    return tuple(await found.to_list())


_SOUND: Document = {"$match": {"$expr": records.SOUND_LEASE}}
_REMAINING: Document = {"$divide": [{"$subtract": ["$expires_at", "$$NOW"]}, 1000]}

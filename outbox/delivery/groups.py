"""Consumer groups and their consumers, as Redis knows them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from redis.exceptions import RedisError

from outbox.delivery.depth import Depth, depth_of, lag_of
from outbox.delivery.entries import MARK
from outbox.printable import printable
from outbox.servers.few import few_connections
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream, Streams
from outbox.streams.entry_ids import EntryId

SECONDS = 2.0
"""How long Redis may be silent."""
LOOKED_AT = 1000
"""Entries of a group that are looked at for who holds them, the oldest first."""

SHOWN = 50
"""How many consumers of a group are told apart, the most recently active first."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A worker by the name that it reads under, as it can be shown.

    `idle_seconds`: since it last asked for work, or said it is done. `oldest`: the first entry that it holds, with the
    message that it is of, and `silent_seconds` since somebody last gave a sign of life for one of them, the longest.
    """

    name: str
    unacknowledged: int
    idle_seconds: float
    oldest: str | None = None
    message: str | None = None
    silent_seconds: float = 0.0

    @property
    def published(self) -> datetime | None:
        """When the first entry that it holds came into the stream, by Redis's clock; None where its id is no time."""
        with suppress(ValueError, OverflowError, OSError):  # others choose ids as they like
            return datetime.fromtimestamp(EntryId.parse(self.oldest).milliseconds / 1000, UTC)
        return None


@dataclass(frozen=True, slots=True)
class Group:
    """A group that reads a stream. `declared`: the one that the settings name, whose numbers count as the stream's."""

    name: str
    declared: bool
    undelivered: int | None
    unacknowledged: int
    consumers: tuple[Consumer, ...]


@dataclass(frozen=True, slots=True)
class Readers:
    """A stream's groups, and how many entries were ever added to it: 0 where it is not there, None when not known."""

    groups: tuple[Group, ...] = ()
    added: int | None = None


async def collect(redis: AnyRedis, streams: Streams) -> Mapping[str, Readers]:
    """What reads each declared stream. Never raises because of Redis: of what does not answer, nothing is known."""
    asked = list(streams.values())
    found: dict[str, Readers] = {}

    async def look(few: AnyRedis, stream: Stream) -> None:
        found[stream.name] = await _readers(few, stream.key, stream.group)

    with suppress(TimeoutError):
        async with few_connections(redis, SECONDS) as few:
            await asyncio.gather(*(look(few, stream) for stream in asked))
    return {stream.name: found.get(stream.name, Readers()) for stream in asked}


def added(readers: Iterable[Readers]) -> int | None:
    """Entries that were ever added to all these streams. None: of one it is not known, as while its shard is away."""
    total = 0
    for reader in readers:
        if reader.added is None:
            return None  # without it, all that it ever had would seem to be added when it is known again
        total += reader.added
    return total


async def undelivered(redis: AnyRedis, streams: Streams) -> Mapping[str, int]:
    """How many entries of each stream no worker of its group has been given yet. Never raises because of Redis:
    streams of which it is not known are left out.
    """
    asked = list(streams.values())  # the registry may change meanwhile
    try:
        async with few_connections(redis, SECONDS) as few:
            found = await asyncio.gather(*(depth_of(few, stream) for stream in asked), return_exceptions=True)
    except TimeoutError:
        return {}
    depths = {stream.name: one for stream, one in zip(asked, found, strict=True) if isinstance(one, Depth)}
    return {name: one.undelivered for name, one in depths.items() if one.undelivered is not None}


async def _readers(redis: AnyRedis, stream: str, declared: str) -> Readers:
    try:
        information: Any = await redis.xinfo_stream(stream)
        groups: list[dict[str, Any]] = await redis.xinfo_groups(stream)
        read = [await _group(redis, stream, group, declared) for group in groups]
    except (RedisError, OSError) as error:
        return Readers(added=0) if "no such key" in str(error) else Readers()
    return Readers(tuple(read), information.get("entries-added"))


async def _group(redis: AnyRedis, stream: str, group: dict[str, Any], declared: str) -> Group:
    name = str(group["name"])
    consumers: list[dict[str, Any]] = await redis.xinfo_consumers(stream, name)
    consumers = sorted((c for c in consumers if c["name"] != MARK), key=lambda c: int(c["idle"]))[:SHOWN]
    held = await _held(redis, stream, name) if group["pending"] else {}
    messages = await _messages(redis, stream, [entries[0]["message_id"] for entries in held.values()][:SHOWN])
    read = []
    for consumer in consumers:
        shown = printable(str(consumer["name"])), int(consumer["pending"]), int(consumer["idle"]) / 1000
        entries = held.get(consumer["name"], [])
        first = str(entries[0]["message_id"]) if entries else None
        silent = max((int(entry["time_since_delivered"]) for entry in entries), default=0) / 1000
        read.append(Consumer(*shown, first, messages.get(first or ""), silent))
    return Group(printable(name), name == declared, lag_of(group), int(group["pending"]), tuple(read))


async def _held(redis: AnyRedis, stream: str, group: str) -> dict[str, list[dict[str, Any]]]:
    """What each consumer holds, of the entries that are looked at, the oldest first."""
    found: Any = await redis.xpending_range(stream, group, min="-", max="+", count=LOOKED_AT)
    held: dict[str, list[dict[str, Any]]] = {}
    for entry in found:
        held.setdefault(str(entry["consumer"]), []).append(entry)
    return held


async def _messages(redis: AnyRedis, stream: str, entries: list[str]) -> Mapping[str, str]:
    """The messages of entries; without entries that are gone, or in which others wrote something else."""
    found: list[Any] = await asyncio.gather(*(redis.xrange(stream, entry, entry) for entry in entries))
    fields = {str(entry): page[0][1] for entry, page in zip(entries, found, strict=True) if page}
    named = {entry: each.get("message_id") for entry, each in fields.items()}
    return {entry: message for entry, message in named.items() if message and ObjectId.is_valid(message)}

"""Held for long: entries that a consumer took, and has given no sign of life for since. Looked at; nothing is changed.

A consumer that is alive may have forgotten an entry for good: it failed, or was started again under its name, and reads
only what is new. While it holds the entry nothing behind it can be trimmed, in whichever group that is.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from redis.exceptions import ResponseError

from outbox.database import Document
from outbox.delivery.entries import not_there
from outbox.printable import printable, shell_word
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream

SECONDS = 300.0
"""The limit where the stream has none of its own."""

LOOKED_AT = 1000
"""Entries of a group that are looked at, at most, the oldest first."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one consumer of a group holds beyond the limit. `entries`: how many of those that were looked at; `first`:
    the oldest of them, and `idle_seconds`, for how long the longest of them has been idle.
    """

    stream: str
    group: str
    consumer: str
    entries: int
    first: str
    idle_seconds: float
    own: bool
    key: str = ""
    """Of the stream in Redis."""

    @property
    def command(self) -> str:
        """What frees the oldest of them. In the stream's own group, it gives them to another consumer to work on."""
        where = f"{self.key or self.stream} {shell_word(self.group)}"
        if self.own:
            return f"redis-cli XAUTOCLAIM {where} ANOTHER_CONSUMER {int(self.idle_seconds * 1000)} {self.first}"
        return f"redis-cli XACK {where} {self.first}"

    def __str__(self) -> str:
        what = "1 entry" if self.entries == 1 else f"{self.entries} entries"
        return (
            f"consumer '{printable(self.consumer)}' of group '{printable(self.group)}' has held {what} of stream "
            f"{self.stream!r} for up to {self.idle_seconds:.0f} s without a sign of life, and nothing behind "
            f"{self.first} can be trimmed"
        )

    def as_json(self) -> Document:
        return {
            "stream": self.stream, "group": printable(self.group),
            "consumer": printable(self.consumer), "entries": self.entries,
            "first": self.first, "idle_seconds": round(self.idle_seconds, 1), "command": self.command,
        }  # fmt: skip


def limit(stream: Stream, group: str) -> float:
    """Seconds after which what is held is named. In the own group, a relay has had time to rescue it by then."""
    return stream.rescue_seconds * (2 if group == stream.group else 1) or SECONDS


async def collect(redis: AnyRedis, stream: Stream) -> tuple[Holding, ...]:
    """What is held beyond the limit in each group of `stream`, the longest first."""
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(stream.key)
    except ResponseError as error:
        if not_there(error):
            return ()
        raise
    busy = [str(group["name"]) for group in groups if group["pending"]]
    found = await asyncio.gather(*(_group(redis, stream, group) for group in busy))
    return tuple(sorted((one for of_group in found for one in of_group), key=lambda one: -one.idle_seconds))


async def _group(redis: AnyRedis, stream: Stream, group: str) -> Iterable[Holding]:
    idle = int(limit(stream, group) * 1000)
    page = await redis.xpending_range(stream.key, group, min="-", max="+", count=LOOKED_AT, idle=idle)
    by_consumer: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in cast(list[dict[str, Any]], page):
        by_consumer[str(entry["consumer"])].append(entry)
    return [
        Holding(
            stream.name, group, consumer, len(entries), str(entries[0]["message_id"]),
            max(int(entry["time_since_delivered"]) for entry in entries) / 1000, group == stream.group, stream.key,
        )
        for consumer, entries in by_consumer.items()
    ]  # fmt: skip

"""Entries of a stream in the hands of its consumer group: read, claimed, kept, acknowledged.

Consumers of this library have names that begin with `outbox:`. By that the others know that they give signs of life,
and that a silent one is gone. A worker that knows nothing of us may work for long, and say nothing meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from redis.asyncio import RedisCluster

from outbox.message.document import Sent
from outbox.protocol.checkpoint import read_sent
from outbox.protocol.script import Script
from outbox.servers.cluster import Command
from outbox.servers.together import Together
from outbox.servers.topology import AnyRedis, on_one_connection
from outbox.streams.declaration import Stream

OURS = "outbox:"
"""How the names of this library's consumers begin."""

MARK = "outbox-mark"
"""The consumer that marks a group, see look.lua. It is nobody's: whoever shows or counts consumers leaves it out."""

WALK_PAGE, FIRST_PAGE = 1000, 100
"""Entries of a page at most, and of the first one, when nothing is known of their size."""
WALK_BYTES = 4 * 1024 * 1024
"""Bytes of a page, about: what is read is all in memory at once, of Redis as well."""
RANGES, OF_EACH = 16, 16
"""Ranges that are read by one request, and how many entries of each."""
LINGER_SECONDS = 0.005
"""How long an acknowledgement waits for others: nobody waits for it."""

Raw = tuple[str, dict[str, str] | None]

_BEAT, _LEAVE, _REMOVE = Script("beat"), Script("leave"), Script("remove")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that was delivered. `sent`: the message and attempt that it stands for; None: others have added it."""

    stream: Stream
    id: str
    fields: dict[str, str]
    sent: Sent | None
    suspect: str | None = None
    """The consumer that it was taken over from, because that one died with it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A consumer of a group, how many entries it holds, and for how long it has been silent."""

    name: str
    pending: int
    idle_seconds: float

    @property
    def ours(self) -> bool:
        return self.name.startswith(OURS)


class Entries:
    """What one consumer of a group asks of Redis. Any number of them may act at once."""

    def __init__(self, redis: AnyRedis, consumer: str) -> None:
        self._redis = redis
        self.consumer = consumer
        self.apart = isinstance(redis, RedisCluster)
        """Whether one read can be of one stream only: in a cluster, each is on a server of its own."""
        self._acknowledging: dict[str, Together[tuple[str, bool], None]] = {}

    async def read(self, streams: Sequence[Stream], count: int, *, block_seconds: float = 0) -> list[Entry]:
        """Up to `count` new entries of each of `streams`, which must have one group. 0 does not wait for any.

        Where they are `apart`, `streams` must be one.

        When the reply is lost, the entries are held by this consumer, which does not know of them: see `claim`.
        """
        keys: dict[Any, Any] = {stream.key: ">" for stream in streams}
        block = int(block_seconds * 1000) or None
        reply = await self._redis.xreadgroup(streams[0].group, self.consumer, keys, count=count, block=block)
        found = cast("list[tuple[str, list[Raw]]]", reply or [])
        by_key = {stream.key: stream for stream in streams}
        return [entry for name, raws in found for entry in _entries(by_key[name], raws)]

    async def holders(self, stream: Stream) -> list[Holder]:
        """The group's consumers, this one among them if it has ever read; the mark of the group is none."""
        found: list[dict[str, Any]] = await self._redis.xinfo_consumers(stream.key, stream.group)
        return [Holder(str(c["name"]), int(c["pending"]), c["idle"] / 1000) for c in found if c["name"] != MARK]

    async def held(
        self, stream: Stream, holder: str, *, idle_seconds: float, count: int, after: str | None = None
    ) -> list[str]:
        """The ids of a page of entries that `holder` has held for so long without a sign of life, the oldest first."""
        start, idle = f"({after}" if after else "-", int(idle_seconds * 1000) or None
        found = await self._redis.xpending_range(
            stream.key, stream.group, min=start, max="+", count=count, consumername=holder, idle=idle
        )
        return [str(one["message_id"]) for one in cast(list[dict[str, Any]], found)]

    async def claim(self, stream: Stream, ids: Collection[str], *, idle_seconds: float) -> list[Entry]:
        """Take over those of the entries that have still been idle for so long. Those that were deleted are dropped."""
        if not ids:
            return []
        idle = int(idle_seconds * 1000)
        raws = await self._redis.xclaim(stream.key, stream.group, self.consumer, idle, [*ids])
        return _entries(stream, cast(list[Raw], raws))

    async def look(self, stream: Stream, ids: Sequence[str]) -> list[Entry | None]:
        """The entries under these ids, whoever holds them; None for one that was deleted."""
        found = await self._together(stream, [("XRANGE", stream.key, id_, id_) for id_ in ids])
        return [next(iter(_entries(stream, raws)), None) for raws in found]

    async def are_held(self, stream: Stream, ranges: Iterable[tuple[str, str]]) -> list[bool]:
        """Of each range, from its first to its last id, whether some consumer holds an entry of it, be it deleted."""
        asked: list[Command] = [("XPENDING", stream.key, stream.group, *ends, 1) for ends in ranges]
        return [bool(one) for one in await self._together(stream, asked, parse_detail=True)]

    async def _together(self, stream: Stream, commands: Sequence[Command], **options: Any) -> list[Any]:
        replies = await on_one_connection(self._redis, stream.key, commands, **options) if commands else []
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def walk(self, stream: Stream, first: str, last: str) -> AsyncIterator[list[Entry]]:
        """The entries from `first` to `last`, in pages."""
        count = min(FIRST_PAGE, WALK_PAGE)
        while True:
            raws = cast(list[Raw], await self._redis.xrange(stream.key, min=first, max=last, count=count))
            yield _entries(stream, raws)
            if len(raws) < count:
                return
            first = f"({raws[-1][0]}"
            size = sum(len(name) + len(value) for _, fields in raws for name, value in (fields or {}).items())
            count = max(1, min(WALK_PAGE, 2 * count, WALK_BYTES * count // max(1, size)))

    async def walk_all(self, stream: Stream, ranges: Iterable[tuple[str, str]]) -> AsyncIterator[list[Entry]]:
        """The entries of several ranges, each from its first to its last id, in pages: many ranges by one request."""
        every = sorted(set(ranges))
        for start in range(0, len(every), RANGES):
            some = every[start : start + RANGES]
            asked: list[Command] = [("XRANGE", stream.key, *ends, "COUNT", OF_EACH) for ends in some]
            for (_, last), raws in zip(some, await self._together(stream, asked), strict=True):
                yield _entries(stream, raws)
                if len(raws) == OF_EACH:
                    async for page in self.walk(stream, f"({raws[-1][0]}", last):
                        yield page

    async def beat(self, stream: Stream, ids: Collection[str]) -> set[str]:
        """Give a sign of life for entries in hand. Returns those that are this consumer's no longer."""
        return set(await _BEAT.run(self._redis, [stream.key], [stream.group, self.consumer, *ids]))

    async def acknowledge(self, stream: Stream, id_: str, *, remove: bool = False) -> None:
        """The entry is dealt with. May be repeated.

        :param remove: its message comes again in another one, or never: so it is deleted at once, unless another
            group has still to be given it, or holds it. Then it is trimmed when none does.

        Entries that are acknowledged at about the same time go to Redis together.
        """
        if (together := self._acknowledging.get(stream.name)) is None:
            together = self._acknowledging[stream.name] = Together(
                partial(self._acknowledge, stream), linger_seconds=LINGER_SECONDS
            )
        await together.ask((id_, remove))

    async def _acknowledge(self, stream: Stream, entries: Sequence[tuple[str, bool]]) -> list[None]:
        if done := [id_ for id_, remove in entries if not remove]:
            await self._redis.xack(stream.key, stream.group, *done)
        if removed := [id_ for id_, remove in entries if remove]:
            await _REMOVE.run(self._redis, [stream.key], [stream.group, *removed])
        return [None] * len(entries)

    async def leave(self, stream: Stream, consumer: str | None = None) -> bool:
        """Take this consumer, or another one, off the group's list, unless it holds entries."""
        reply: Any = await _LEAVE.run(self._redis, [stream.key], [stream.group, consumer or self.consumer])
        return bool(reply)


def _entries(stream: Stream, raws: Sequence[Raw]) -> list[Entry]:
    return [Entry(stream, id_, fields, _sent(fields)) for id_, fields in raws if fields is not None]


def _sent(fields: dict[str, str]) -> Sent | None:
    return read_sent(fields.get("message_id", ""), fields.get("attempt", ""))


def not_there(error: BaseException) -> bool:
    """Whether the group, or the stream, is not there."""
    return str(error).startswith("NOGROUP") or "no such key" in str(error)

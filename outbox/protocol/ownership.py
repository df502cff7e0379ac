"""Whose stream it is: the outbox that a stream's record in Redis names, and what happens at one of another outbox.

The first relay that opens a partition of a stream which names nobody puts its outbox on record. From then on the
scripts of every other outbox are refused (`of_another` in stream.lua): it publishes, trims, completes and acknowledges
nothing there. Entries that were added before a stream named anybody may be another outbox's too, as relays of the
version before put no name on record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Self

from outbox.database import PREFIX, Database
from outbox.errors import ForeignStream, Owner
from outbox.message import meta
from outbox.printable import printable
from outbox.protocol.script import Script
from outbox.servers.few import few_connections
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream
from outbox.streams.keys import record_key

UNKNOWN = "outbox-unknown"
"""The consumer that gets entries whose message is not in this database, and which may be another outbox's. It reads
nothing. The relay of the outbox that has the message publishes it again after the stream's `rescue_seconds`."""

_ADOPT, _ACKNOWLEDGE, _AHEAD = Script("adopt"), Script("acknowledge"), Script("ahead")

AHEAD_PAGE = 1000
"""Entries whose times are looked at in one request, which Redis does nothing else during."""
AHEAD_SECONDS = 0.005
"""How long an entry is watched that seems to have been delivered this very moment: Redis counts in milliseconds."""


async def own(database: Database) -> Owner:
    """The outbox in `database`. Asked once of each object: it never changes.

    :raises SchemaError: there is none; run `outbox init`.
    """
    if database.owner is None:
        identity = await meta.identity(database)
        hosts = ",".join(sorted(f"{host}:{port}" for host, port in database.client.nodes))
        prefix = "" if database.place.prefix == PREFIX else f" prefix {database.place.prefix}"
        database.owner = Owner(identity, f"{database.name}{prefix}", hosts)
    return database.owner


async def owner(redis: AnyRedis, stream: Stream) -> Owner | None:
    """The outbox that the stream's record names. None: no relay of this version has opened the stream yet."""
    commands: Any = redis
    identity, database, hosts = await commands.hmget(record_key(stream.key), ["outbox", "database", "hosts"])
    return read_owner(identity, database, hosts) if identity else None


def read_owner(identity: str, database: str | None, hosts: str | None) -> Owner:
    """What a record says, as it can be shown: anybody can write there."""
    return Owner(printable(identity), printable(database or ""), printable(hosts or ""))


def is_another(found: Owner, ours: Owner) -> bool:
    """Whether what was read of an owner is another outbox than ours. Records of before may name no database."""
    return found.identity != ours.identity or found.database not in ("", printable(ours.database))


class Ownership:
    """What a program of the outbox `ours` asks about streams."""

    def __init__(self, redis: AnyRedis, ours: Owner) -> None:
        self._redis = redis
        self._ours = ours

    @classmethod
    async def checked(cls, database: Database, redis: AnyRedis, streams: Iterable[Stream]) -> Self:
        """For the outbox in `database`.

        :raises ForeignStream: one of `streams` belongs to another outbox.
        :raises SchemaError: the database has no outbox.
        """
        ownership = cls(redis, await own(database))
        for stream in streams:
            await ownership.is_ours(stream)
        return ownership

    async def is_ours(self, stream: Stream) -> bool:
        """Whether the stream's record names this outbox. False: it names nobody.

        :raises ForeignStream: it names another one.
        """
        found = await owner(self._redis, stream)
        if found is not None and is_another(found, self._ours):
            raise ForeignStream(stream.key, self._ours, found)
        return found is not None

    async def acknowledge_unknown(self, stream: Stream, entry: str, holder: str = "") -> bool:
        """Acknowledge an entry whose message is not in the database, if it can only have been this outbox's.

        It is removed, unless another group needs it. False: it may be another outbox's. Then it is left, and `holder`,
        if it holds the entry, hands it to the consumer `UNKNOWN`.

        :raises ForeignStream: the stream belongs to another outbox by now.
        """
        keys, args = [stream.key, record_key(stream.key)], [self._ours.claim, stream.group, entry, holder, UNKNOWN]
        answer = await _ACKNOWLEDGE.run(self._redis, keys, args)
        refuse(stream.key, self._ours, answer)
        return bool(answer[0] == "acknowledged")

    async def set_times_ahead(self, stream: Stream) -> int:
        """Entries of the stream's group that were delivered at times which are ahead now count as delivered now.

        Returns how many.

        :raises ForeignStream: the stream belongs to another outbox.
        """
        keys = [stream.key, record_key(stream.key)]
        ahead, start, suspects = 0, "-", list[str]()
        while start or suspects:
            if suspects:
                await asyncio.sleep(AHEAD_SECONDS)
            answer = await _AHEAD.run(self._redis, keys, [stream.group, AHEAD_PAGE, self._ours.claim, start, *suspects])
            refuse(stream.key, self._ours, answer)
            ahead, start, suspects = ahead + int(answer[0]), answer[1], answer[2:]
        return ahead

    async def take_over(self, stream: Stream) -> Owner | None:
        """Put this outbox on record for `stream`, which belonged to the one returned. None: it was nobody's or ours.

        From here on that one is refused, and all that stands in the stream counts as this outbox's.
        """
        keys, args = [record_key(stream.key)], [self._ours.identity, self._ours.database, self._ours.hosts]
        answer = await _ADOPT.run(self._redis, keys, args)
        return read_owner(*answer) if answer else None


def refuse(stream: str, ours: Owner, answer: Sequence[Any]) -> None:
    """Raise ForeignStream when a script has answered that the stream belongs to another outbox."""
    if answer and answer[0] == "foreign":
        raise ForeignStream(stream, ours, read_owner(*answer[1:4]))


async def refused(redis: AnyRedis, streams: Iterable[Stream], ours: Owner) -> list[ForeignStream]:
    """The streams that belong to another outbox. Raises what Redis raises."""
    asked = list(streams)
    async with few_connections(redis) as few:
        found = await asyncio.gather(*(owner(few, stream) for stream in asked))
    return [
        ForeignStream(stream.key, ours, other)
        for stream, other in zip(asked, found, strict=True)
        if other is not None and is_another(other, ours)
    ]

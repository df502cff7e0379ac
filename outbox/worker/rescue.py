"""Rescue: messages that are stuck at a worker, found from both ends: from the group's entries, and from MongoDB.

For workers that know nothing of the outbox, and read new entries only: an entry that one of them took with it would
never be seen again. A message that merely waits its turn, or that a live worker holds, is left alone.

Whatever is decided is a compare-and-set on the message (outbox.message.attempts), so that a worker that comes back,
recovery, and two relays at a time do no harm. It comes before the entry is acknowledged: a crash between the two
leaves an entry whose message has an outcome, which is seen at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bson import ObjectId
from redis.exceptions import ResponseError

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.delivery import held
from outbox.delivery.entries import Entries, Entry, Holder, not_there
from outbox.delivery.held import Holding
from outbox.delivery.vanished import Vanished
from outbox.message import attempts
from outbox.message.document import State, is_ours
from outbox.message.outcome import COUNTED, Found, put_back, settle
from outbox.printable import printable
from outbox.protocol.ownership import Ownership, own
from outbox.protocol.settled import NEEDED, settled
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Partition, Stream
from outbox.worker.adoption import adopt
from outbox.worker.completion import Standing, look

PAGE = 500
TOGETHER = 50
CONSUMER = "outbox-rescue"
"""Holds nothing: no entry is ever claimed for a rescue."""
FORGET_SECONDS = 3600.0
"""After which the name of one of our consumers that holds nothing is taken off the group's list."""


class Rescue:
    """The statements of one relay. Repeating any of them does no harm."""

    def __init__(self, database: Database, redis: AnyRedis) -> None:
        self._database = database
        self._messages = database[OUTBOX].with_options(codec_options=LENIENT)
        self._redis = redis
        self._entries = Entries(redis, CONSUMER)
        self._vanished = Vanished(database, redis, self._entries)

    async def abandoned(self, stream: Stream) -> Found:
        """Entries that consumers have held for longer than the stream's limit without a sign of life.

        Ours give one for each entry that they work on, and for as long as one lives, what it holds is its own affair.
        Any other consumer gives none: it may read on, and have forgotten what it failed on, or what it held when it was
        started again. So of those, how long each entry has been idle decides.

        :raises ForeignStream: the stream belongs to another outbox.
        """
        found = Found()
        if not await (await self._ownership()).is_ours(stream):
            return found  # no partition of it was opened yet
        try:
            holders = await self._entries.holders(stream)
        except ResponseError as error:
            if not_there(error):
                return found
            raise
        for holder in holders:
            if holder.pending and (not holder.ours or holder.idle_seconds > stream.rescue_seconds):
                found += await self._of(stream, holder)
            elif holder.ours and not holder.pending and holder.idle_seconds > FORGET_SECONDS:
                await self._entries.leave(stream, holder.name)
        return found

    async def times_ahead(self, stream: Stream) -> int:
        """After Redis's clock was set back: let what was delivered at times that are ahead now count as delivered now.

        Returns of how many entries.

        :raises ForeignStream: the stream belongs to another outbox.
        """
        return await (await self._ownership()).set_times_ahead(stream)

    async def held(self, stream: Stream) -> tuple[Holding, ...]:
        """What is held beyond the limit in spite of rescues, in whichever group."""
        return await held.collect(self._redis, stream)

    async def _ownership(self) -> Ownership:
        return Ownership(self._redis, await own(self._database))

    async def _of(self, stream: Stream, holder: Holder) -> Found:
        found, last = Found(), None
        if holder.idle_seconds > stream.rescue_seconds:
            reason = f"its worker {holder.name!r} took it and has been silent for {holder.idle_seconds:.0f} s"
        else:
            reason = f"its worker {holder.name!r} has held it for more than {stream.rescue_seconds:g} s"
        while True:
            ids = await self._entries.held(
                stream, holder.name, idle_seconds=stream.rescue_seconds, count=PAGE, after=last
            )
            if not ids:
                return found
            last = ids[-1]
            entries = await self._entries.look(stream, ids)
            gone = [id_ for id_, entry in zip(ids, entries, strict=True) if entry is None]
            suspect = printable(holder.name) if holder.ours else None
            found += await self._decide(stream, [entry for entry in entries if entry], reason, suspect)
            for id_ in gone:  # its message is found from the other end
                await self._entries.acknowledge(stream, id_)

    async def _decide(self, stream: Stream, entries: Sequence[Entry], reason: str, suspect: str | None = None) -> Found:
        found = Found()
        ids = [entry.sent.id for entry in entries if entry.sent]
        stored = {m["_id"]: m async for m in self._messages.find({"_id": {"$in": ids}}, _NEEDED) if is_ours(m)}
        done = await settled(self._database, stream.subject, list(stored.values()))
        for start in range(0, len(entries), TOGETHER):
            # Several at a time: each waits for the disks of a majority.
            outcomes = (
                self._decide_on(stream, entry, stored.get(entry.sent.id) if entry.sent else None, done, reason, suspect)
                for entry in entries[start : start + TOGETHER]
            )
            found = sum(await asyncio.gather(*outcomes), found)
        return found

    async def _decide_on(
        self,
        stream: Stream,
        entry: Entry,
        message: Document | None,
        done: set[ObjectId],
        reason: str,
        suspect: str | None,
    ) -> Found:
        found, remove = Found(), True
        if entry.sent is None:
            remove = await adopt(self._database, entry)
        elif message is None or _attempts(message) < entry.sent.attempt:
            # Not marked yet, which is for the relay to deal with; or discarded, or MongoDB was restored from a backup:
            # then nobody else will ever take the entry away. Which of them, a stale primary must not decide.
            standing, _ = await look(self._database, entry.sent)
            if standing in (Standing.UNMARKED, Standing.WANTED):
                return found
            if standing is Standing.UNKNOWN:
                await (await self._ownership()).acknowledge_unknown(stream, entry.id)
                return found
        elif message.get("stream") != stream.name:
            pass  # a copy that somebody has made: the message has an entry in its own stream
        elif (message.get("state"), message.get("attempts")) != (State.PUBLISHED.value, entry.sent.attempt):
            pass  # this attempt has an outcome
        elif message["_id"] in done and not attempts.is_repeat(message):
            found = await settle(self._database, [message])  # done, and its worker died before it could say so
        else:
            found = await put_back(self._database, stream, message, entry.sent, reason, suspect)
        await self._entries.acknowledge(stream, entry.id, remove=remove)
        return found

    async def vanished(self, stream: Stream, partition: Partition) -> Found:
        """Published messages whose entry nobody will read or is working on, see outbox.delivery.vanished.

        :raises ForeignStream: the stream belongs to another outbox.
        """
        await (await self._ownership()).is_ours(stream)
        return await self._vanished.look(stream, partition)


_NEEDED = NEEDED | dict.fromkeys(("state", "stream", "replayed", *COUNTED), 1)


def _attempts(message: Document) -> int:
    attempts = message.get("attempts")
    return attempts if isinstance(attempts, int) else 0

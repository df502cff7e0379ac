"""Rescue: messages that are stuck at a worker, found from both ends: from the group's entries, and from MongoDB.

For workers that know nothing of the outbox, and read new entries only: an entry that one of them took with it would
never be seen again. A message that merely waits its turn, or that a live worker holds, is left alone.

Whatever is decided is a compare-and-set on the message (outbox.attempts), so that a worker that comes back, recovery,
and two relays at a time do no harm. It comes before the entry is acknowledged: a crash between the two leaves an entry
whose message has an outcome, which is seen at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId
from redis.exceptions import ResponseError

from outbox import attempts, held
from outbox.adoption import adopt
from outbox.attempts import Cause
from outbox.checkpoint import Sent
from outbox.clock import server_time
from outbox.consumer.completion import Standing, look
from outbox.entries import Entries, Entry, Holder
from outbox.errors import InvalidMessage
from outbox.held import Holding
from outbox.message import LENIENT, State, is_ours
from outbox.schema import OUTBOX, Database, Document
from outbox.settled import NEEDED, settled
from outbox.streams import Partition, Stream, Subject
from outbox.topology import AnyRedis

Position = tuple[int, int]

PAGE = 500
TOGETHER = 50
CONSUMER = "outbox-rescue"
"""Holds nothing: no entry is ever claimed for a rescue."""
FORGET_SECONDS = 3600.0
"""After which the name of one of our consumers that holds nothing is taken off the group's list."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass did: messages pending again, dead after their last attempt, and settled by their workers."""

    rescued: int = 0
    dead: int = 0
    settled: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(self.rescued + other.rescued, self.dead + other.dead, self.settled + other.settled)


class Rescue:
    """The statements of one relay. Repeating any of them does no harm."""

    def __init__(self, database: Database, redis: AnyRedis) -> None:
        self._database = database
        self._messages = database[OUTBOX].with_options(codec_options=LENIENT)
        self._redis = redis
        self._entries = Entries(redis, CONSUMER)

    async def abandoned(self, stream: Stream) -> Found:
        """Entries that consumers have held for longer than the stream's limit without a sign of life.

        Ours give one for each entry that they work on, and for as long as one lives, what it holds is its own affair.
        Any other consumer gives none: it may read on, and have forgotten what it failed on, or what it held when it was
        started again. So of those, how long each entry has been idle decides.
        """
        found = Found()
        try:
            holders = await self._entries.holders(stream)
        except ResponseError as error:
            if _not_there(error):
                return found
            raise
        for holder in holders:
            if holder.pending and (not holder.ours or holder.idle_seconds > stream.rescue_seconds):
                found += await self._of(stream, holder)
            elif holder.ours and not holder.pending and holder.idle_seconds > FORGET_SECONDS:
                await self._entries.leave(stream, holder.name)
        return found

    async def held(self, stream: Stream) -> tuple[Holding, ...]:
        """What is held beyond the limit in spite of rescues, in whichever group."""
        return await held.collect(self._redis, stream)

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
            found += await self._decide(stream, [entry for entry in entries if entry], reason)
            for id_ in gone:  # its message is found from the other end
                await self._entries.acknowledge(stream, id_)

    async def _decide(self, stream: Stream, entries: Sequence[Entry], reason: str) -> Found:
        found = Found()
        ids = [entry.sent.id for entry in entries if entry.sent]
        stored = {m["_id"]: m async for m in self._messages.find({"_id": {"$in": ids}}, _NEEDED) if is_ours(m)}
        done = await settled(self._database, stream.subject, list(stored.values()))
        for start in range(0, len(entries), TOGETHER):
            # Several at a time: each waits for the disks of a majority.
            outcomes = (
                self._decide_on(stream, entry, stored.get(entry.sent.id) if entry.sent else None, done, reason)
                for entry in entries[start : start + TOGETHER]
            )
            found = sum(await asyncio.gather(*outcomes), found)
        return found

    async def _decide_on(
        self, stream: Stream, entry: Entry, message: Document | None, done: set[ObjectId], reason: str
    ) -> Found:
        found = Found()
        if entry.sent is None:
            await self._adopt(entry)
        elif message is None or _attempts(message) < entry.sent.attempt:
            # Not marked yet, which is for the relay to deal with; or discarded, or MongoDB was restored from a backup:
            # then nobody else will ever take the entry away. Which of them, a stale primary must not decide.
            standing, _ = await look(self._database, entry.sent)
            if standing in (Standing.UNMARKED, Standing.WANTED):
                return found
        elif (message.get("state"), message.get("attempts")) != (State.PUBLISHED.value, entry.sent.attempt):
            pass  # this attempt has an outcome
        elif message["_id"] in done:
            found = await self._settle([message])  # done, and its worker died before it could say so
        else:
            found = await self._again(stream, message, entry.sent, reason)
        await self._entries.acknowledge(stream, entry.id, remove=True)
        return found

    async def _adopt(self, entry: Entry) -> None:
        with suppress(InvalidMessage):  # no worker can be asked to do it, then
            await adopt(self._database, entry)

    async def vanished(self, stream: Stream, partition: Partition) -> Found:
        """Published messages whose subject waits, and whose entry nobody will read or is working on.

        Those whose subject was settled become completed, so that this is asked of each message once: it walks by the
        number of the batch, which is the order of the stream, and ends where the group has not come to yet. Without a
        subject, an acknowledgement is all that anybody says, and nothing is known to be stuck.
        """
        found = Found()
        delivered = await self._delivered(stream) if stream.subject else None
        if stream.subject is None or delivered is None:
            return found
        limit = await server_time(self._database) - timedelta(seconds=stream.rescue_seconds)
        published = {
            "state": State.PUBLISHED.value, "stream": partition.stream, "partition": partition.number,
        }  # fmt: skip
        page: list[Document] = []
        cursor = self._messages.find(published, _NEEDED, batch_size=PAGE).sort("batch").hint("published")
        async with cursor:
            async for message in cursor:
                if not is_ours(message):
                    continue
                page.append(message)
                if len(page) == PAGE:
                    due = [m for m in page if _due(m, limit, delivered)]
                    if not due:
                        return found
                    found += await self._examine(stream, stream.subject, due, delivered)
                    page = []
        return found + await self._examine(
            stream, stream.subject, [m for m in page if _due(m, limit, delivered)], delivered
        )

    async def _delivered(self, stream: Stream) -> Position | None:
        """How far the group has come. None: it is not there, which is for recovery to deal with."""
        try:
            groups: list[Document] = await self._redis.xinfo_groups(stream.name)
        except ResponseError as error:
            if _not_there(error):
                return None
            raise
        return next((_position(group["last-delivered-id"]) for group in groups if group["name"] == stream.group), None)

    async def _examine(self, stream: Stream, subject: Subject, due: Sequence[Document], delivered: Position) -> Found:
        done = await settled(self._database, subject, due)
        found = await self._settle([message for message in due if message["_id"] in done])
        stuck = await self._stuck(stream, [message for message in due if message["_id"] not in done], delivered)
        # Asked again, now that nobody has the entry: a worker writes its result before it acknowledges.
        done = await settled(self._database, subject, [message for message, _ in stuck])
        for message, reason in stuck:
            if message["_id"] in done:
                found += await self._settle([message])
            else:
                found += await self._again(stream, message, Sent(message["_id"], message["attempts"]), reason)
        return found

    async def _stuck(
        self, stream: Stream, messages: Sequence[Document], delivered: Position
    ) -> list[tuple[Document, str]]:
        """Of the messages, those whose entry is gone or was acknowledged, and which of the two."""
        places = await self._places(stream, messages)
        read = [message for message in messages if _position(places.get(message["_id"], "0-0")) <= delivered]
        there = [message for message in read if message["_id"] in places]
        held = await self._entries.are_held(stream, [places[message["_id"]] for message in there])
        acknowledged = [message for message, is_held in zip(there, held, strict=True) if not is_held]
        return [(message, "its entry was acknowledged without a result") for message in acknowledged] + [
            (message, "its entry is gone from the stream") for message in read if message["_id"] not in places
        ]

    async def _places(self, stream: Stream, messages: Sequence[Document]) -> dict[ObjectId, str]:
        """The ids of the messages' entries, of their last attempts, where they are still there.

        Most are among those of their batch. Of what is not, as after a recovery, the whole stream is searched, once.
        """
        sought = {(message["_id"], message["attempts"]) for message in messages}
        places: dict[ObjectId, str] = {}

        def found(page: Iterable[Entry]) -> None:
            for entry in page:
                if entry.sent and (entry.sent.id, entry.sent.attempt) in sought:
                    places[entry.sent.id] = entry.id

        batches = {
            (m["entries"]["first"], m["entries"]["last"]) for m in messages if isinstance(m.get("entries"), dict)
        }
        for first, last in batches:
            async for page in self._entries.walk(stream, first, last):
                found(page)
        if len(places) < len(sought):
            async for page in self._entries.walk(stream, "-", "+"):
                found(page)
        return places

    async def _settle(self, messages: Sequence[Document]) -> Found:
        if not messages:
            return Found()
        result = await self._database[OUTBOX].update_many(
            {"_id": {"$in": [message["_id"] for message in messages]}, "state": State.PUBLISHED.value},
            {"$set": {"state": State.COMPLETED.value}, "$currentDate": {"completed_at": True}},
        )
        return Found(settled=result.modified_count)

    async def _again(self, stream: Stream, message: Document, sent: Sent, reason: str) -> Found:
        if attempts.tries(sent.attempt, message) < stream.retry.attempts:
            put_back = await attempts.again(self._database, sent, Cause.RESCUED, reason=reason)
            return Found(rescued=int(put_back))
        reason = f"given up after {sent.attempt} attempts: {reason}"
        died = await attempts.die(
            self._database, stream, sent, Cause.RESCUED, key=message.get("key"), reason=reason, error=reason
        )
        return Found(dead=int(died))


_NEEDED = NEEDED | dict.fromkeys(("state", "attempts", "forgiven", "published_at", "entries"), 1)


def _due(message: Document, limit: datetime, delivered: Position) -> bool:
    """Whether it was published long ago, and the group has come to its batch."""
    entries = message.get("entries")
    first = _position(entries["first"]) if isinstance(entries, dict) else (0, 0)
    published_at = message.get("published_at")
    return isinstance(published_at, datetime) and published_at < limit and first <= delivered


def _attempts(message: Document) -> int:
    attempts = message.get("attempts")
    return attempts if isinstance(attempts, int) else 0


def _position(id_: str) -> Position:
    milliseconds, _, number = id_.partition("-")
    return int(milliseconds), int(number)


def _not_there(error: ResponseError) -> bool:
    return str(error).startswith("NOGROUP") or "no such key" in str(error)

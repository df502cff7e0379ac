"""Vanished: published messages whose entry nobody will read or is working on, found from MongoDB.

With a subject, a message whose subject was settled becomes completed, so that this is asked of each once, and one that
is still wanted is published again when its entry is gone or was acknowledged. Without one, an acknowledgement is all
that anybody says (outbox.delivery.evidence), and what is known to be lost is what was removed from the stream before
the group came to it.

A pass reads what has been published for long and the group has come to, and of the stream only the batches of these.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.cursor import AsyncCursor
from redis.exceptions import ResponseError

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.delivery.entries import Entries, not_there
from outbox.message import attempts
from outbox.message.document import Sent, State, by_attempt, is_ours
from outbox.message.outcome import COUNTED, Found, put_back, settle
from outbox.protocol.settled import NEEDED, settled, without_subject
from outbox.servers.clock import server_time
from outbox.servers.paging import in_pages
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Partition, Stream, Subject
from outbox.streams.entry_ids import NEVER, EntryId, joined

ACKNOWLEDGED = "its entry was acknowledged without a result"

PAGE = 500
LONG_SECONDS = 1.0
"""After a walk that took longer, for removed entries, the next one waits for twenty times as long."""


class Vanished:
    """The statements of one relay. Repeating any of them does no harm."""

    def __init__(self, database: Database, redis: AnyRedis, entries: Entries) -> None:
        self._database = database
        self._messages = database[OUTBOX].with_options(codec_options=LENIENT)
        self._redis = redis
        self._entries = entries
        self._removed: dict[Partition, tuple[EntryId, int]] = {}
        """What the stream told at the last look that was complete: up to where entries are gone, and how many ever."""
        self._rests: dict[Partition, tuple[EntryId, float]] = {}
        """After a look at a long backlog: up to where entries were gone, and until when another would be too soon."""

    async def look(self, stream: Stream, partition: Partition) -> Found:
        delivered = await self._delivered(stream)
        if delivered is None:
            return Found()
        if stream.subject is None:
            found = await self._removed_unread(stream, partition, delivered)
            return found + await self._gone(stream, partition, delivered) if stream.gone_is_done else found
        found, unknown = Found(), list[ObjectId]()
        async for page in in_pages(self._due(stream, partition, delivered), PAGE):
            unknown += [message["_id"] for message in page if "entries" not in message]
            found += await self._examine(
                stream, stream.subject, [message for message in page if "entries" in message], delivered
            )
        if unknown:
            # Published by a version that did not record where. One walk over the stream finds it for all of them.
            await locate(self._database, self._entries, stream)
        for start in range(0, len(unknown), PAGE):
            query = {"_id": {"$in": unknown[start : start + PAGE]}, "state": State.PUBLISHED.value}
            due = [m async for m in self._messages.find(query, _NEEDED) if not _is_ahead(m, delivered)]
            found += await self._examine(stream, stream.subject, due, delivered)
        return found

    async def _due(self, stream: Stream, partition: Partition, delivered: EntryId) -> AsyncIterator[Document]:
        """Messages that were published long ago, and whose batch the group has come to.

        By the number of the batch, which is the order of the stream: what comes in a later batch than one that is not
        due is not due either. Within a batch there is no order, since all that survived a loss are in one.
        """
        now = await server_time(self._database)
        limit, undue = now - timedelta(seconds=stream.rescue_seconds), _NONE
        async with self._published(partition) as cursor:
            async for message in cursor:
                if not _is_published(message):
                    continue
                if undue is not _NONE and message.get("batch") != undue:
                    return
                published_at = message.get("published_at")
                if _is_ahead(message, delivered) or (
                    isinstance(published_at, datetime) and limit <= published_at <= now  # later: a clock was set back
                ):
                    undue = message.get("batch")
                elif isinstance(published_at, datetime) and published_at < limit:
                    yield message

    def _published(self, partition: Partition) -> AsyncCursor[Document]:
        query = {"state": State.PUBLISHED.value, "stream": partition.stream, "partition": partition.number}
        return self._messages.find(query, _NEEDED, batch_size=PAGE).sort("batch").hint("published")

    async def _removed_unread(self, stream: Stream, partition: Partition, delivered: EntryId) -> Found:
        """Messages whose entries were trimmed or deleted before the group was given them: they come again.

        Looked for when the stream tells that something ahead of the group is gone, once for each time that anything
        was removed since: the last place where something is missing tells nothing of removals before it.
        """
        stands: Document = await self._redis.xinfo_stream(stream.key)
        first = stands.get("recorded-first-entry-id") if stands["length"] else stands["last-generated-id"]
        gone_to = max(_known(first), _known(stands.get("max-deleted-entry-id")))
        gone = gone_to, stands.get("entries-added", 0) - stands["length"]
        rests_for, until = self._rests.get(partition, (gone_to, 0.0))
        began = time.monotonic()
        if gone_to <= delivered or self._removed.get(partition) == gone or (rests_for == gone_to and began < until):
            return Found()
        found, complete = Found(), True
        async for page in in_pages(self._between(partition, delivered, gone_to), PAGE):
            lost = await self._never_given(stream, page, delivered)
            come_to = await self._delivered(stream)
            if come_to is None or come_to < delivered:
                return found  # it is another group, or another stream: the next pass looks
            if come_to != delivered:
                # What it has come to meanwhile may have been acknowledged and deleted. Of what lies ahead of it still,
                # nothing was given to anybody. On a busy stream there is no pass that it stands still in.
                lost, complete = [message for message in lost if _is_ahead(message, come_to)], False
            for message in lost:
                reason = "its entry was removed from the stream before anybody was given it"
                found += await put_back(
                    self._database, stream, message, Sent(message["_id"], message["attempts"]), reason
                )
        if complete:
            self._removed[partition] = gone
        # Our own trims change how many are gone, too: a backlog behind one hole would be read through at every pass.
        took = time.monotonic() - began
        self._rests[partition] = gone_to, time.monotonic() + (20 * took if took > LONG_SECONDS else 0)
        return found

    async def _never_given(self, stream: Stream, page: Sequence[Document], delivered: EntryId) -> list[Document]:
        """Of messages that may stand beyond `delivered`, those whose entries stood there and are gone.

        Of a batch that the group is in the midst of, it is known how many entries came after `delivered`, since their
        ids follow one another, and so how many of these are missing: the last of its messages that have no entry.
        """
        places = await self._places(stream, page)
        gone = [message for message in page if message["_id"] not in places]
        lost = [message for message in gone if _is_ahead(message, delivered)]
        begun = defaultdict[tuple[str, str], list[Document]](list)
        for message in gone:
            if (ends := _ends(message)) and not _is_ahead(message, delivered):
                begun[ends].append(message)
        for (first, last), missing in begun.items():
            if EntryId.parse(first).milliseconds == delivered.milliseconds == EntryId.parse(last).milliseconds:
                there = [raws async for raws in self._entries.walk(stream, f"({delivered}", last)]
                count = EntryId.parse(last).number - delivered.number - sum(map(len, there))
                missing.sort(key=lambda message: message["position"])  # the order of the batch
                lost += missing[max(0, len(missing) - count) :]
        return lost

    async def _between(self, partition: Partition, delivered: EntryId, last: EntryId) -> AsyncIterator[Document]:
        beyond = _NONE
        async with self._published(partition) as cursor:
            async for message in cursor:
                if not _is_published(message):
                    continue
                if beyond is not _NONE and message.get("batch") != beyond:
                    return
                if _is_ahead(message, last):
                    beyond = message.get("batch")
                elif (ends := _ends(message)) and EntryId.parse(ends[1]) > delivered:
                    yield message

    async def _gone(self, stream: Stream, partition: Partition, delivered: EntryId) -> Found:
        """Messages that the group was given, and whose entries are gone: done, as the stream's declaration says."""
        found = Found()
        async for page in in_pages(self._due(stream, partition, delivered), PAGE):
            places = await self._places(stream, page)
            gone = defaultdict[tuple[str, str], list[Document]](list)
            for message in page:
                if message["_id"] not in places and (ends := _ends(message)) and EntryId.parse(ends[1]) <= delivered:
                    gone[ends].append(message)
            done = [m for ends, some in gone.items() if not await self._entries.any_held(stream, *ends) for m in some]
            come_to = await self._delivered(stream)
            if come_to is None or delivered > come_to:
                return found  # another group, of another stream: what was held of the earlier one was lost with it
            found += await settle(self._database, done)
        return found

    async def _delivered(self, stream: Stream) -> EntryId | None:
        """How far the group has come. None: it is not there, which is for recovery to deal with."""
        try:
            groups: list[Document] = await self._redis.xinfo_groups(stream.key)
        except ResponseError as error:
            if not_there(error):
                return None
            raise
        return next(
            (EntryId.parse(group["last-delivered-id"]) for group in groups if group["name"] == stream.group), None
        )

    async def _examine(self, stream: Stream, subject: Subject, due: Sequence[Document], delivered: EntryId) -> Found:
        judged = [message for message in due if not attempts.is_repeat(message)]
        done = await settled(self._database, subject, judged)
        found = await settle(self._database, [message for message in due if message["_id"] in done])
        stuck = await self._stuck(stream, [message for message in due if message["_id"] not in done], delivered)
        # Asked again, now that nobody has the entry: a worker writes its result before it acknowledges.
        suspects = [message for message, _ in stuck]
        done = await settled(self._database, subject, suspects)
        # Of a subject that was deleted, nothing but the acknowledgement tells. An entry that is gone was acknowledged
        # and trimmed, or others have removed it: so its message comes once more, and not until it is dead.
        gone = await without_subject(self._database, subject, suspects)
        for message, reason in stuck:
            acknowledged = reason is ACKNOWLEDGED or bool(message.get("rescued"))
            if message["_id"] in done or (message["_id"] in gone and acknowledged):
                found += await settle(self._database, [message])
            else:
                found += await put_back(
                    self._database, stream, message, Sent(message["_id"], message["attempts"]), reason
                )
        return found

    async def _stuck(
        self, stream: Stream, messages: Sequence[Document], delivered: EntryId
    ) -> list[tuple[Document, str]]:
        """Of the messages, those whose entry is gone or was acknowledged, and which of the two."""
        places = await self._places(stream, messages)
        read = [message for message in messages if _known(places.get(message["_id"])) <= delivered]
        there = [message for message in read if message["_id"] in places]
        held = await self._entries.are_held(stream, [places[message["_id"]] for message in there])
        acknowledged = [message for message, is_held in zip(there, held, strict=True) if not is_held]
        return [(message, ACKNOWLEDGED) for message in acknowledged] + [
            (message, "its entry is gone from the stream") for message in read if message["_id"] not in places
        ]

    async def _places(self, stream: Stream, messages: Sequence[Document]) -> dict[ObjectId, str]:
        """The ids of the messages' entries, of their last attempts, where they are still there."""
        sought = {(message["_id"], message["attempts"]) for message in messages}
        places: dict[ObjectId, str] = {}
        for first, last in joined(ends for message in messages if (ends := _ends(message))):
            async for page in self._entries.walk(stream, first, last):
                for entry in page:
                    if entry.sent and (entry.sent.id, entry.sent.attempt) in sought:
                        places[entry.sent.id] = entry.id
        return places


async def locate(database: Database, entries: Entries, stream: Stream) -> int:
    """Record the entries of each published message that stands in the stream, where they are not on record.

    Returns of how many. One walk over the stream; nothing is recorded of what is not there.
    """
    located = 0
    async for page in entries.walk(stream, "-", "+"):
        for attempt, ids in by_attempt(entry.sent for entry in page if entry.sent).items():
            unknown = {"state": State.PUBLISHED.value, "attempts": attempt, "entries": {"$exists": False}}
            values = {"entries": {"first": page[0].id, "last": page[-1].id}}
            result = await database[OUTBOX].update_many({"_id": {"$in": ids}, **unknown}, {"$set": values})
            located += result.modified_count
    return located


_NEEDED = NEEDED | dict.fromkeys(("state", "published_at", "entries", "batch", "rescued", "replayed", *COUNTED), 1)
_NONE: Any = object()


def _is_published(message: Document) -> bool:
    return is_ours(message) and "attempts" in message


def _sent(message: Document) -> Sent:
    return Sent(message["_id"], message["attempts"])


def _ends(message: Document) -> tuple[str, str] | None:
    """The first and the last of the entries among which it stands. None: not on record."""
    entries = message.get("entries")
    return (entries["first"], entries["last"]) if isinstance(entries, dict) else None


def _is_ahead(message: Document, position: EntryId) -> bool:
    """Whether its entry certainly comes after `position`."""
    ends = _ends(message)
    return ends is not None and EntryId.parse(ends[0]) > position


def _known(id_: str | None) -> EntryId:
    return EntryId.parse(id_) if id_ else NEVER

"""Vanished: published messages whose entry nobody will read or is working on, found from MongoDB.

With a subject, a message whose subject was settled becomes completed, so that this is asked of each once, and one that
is still wanted is published again when its entry is gone or was acknowledged. Without one, an acknowledgement is all
that anybody says (outbox.delivery.evidence), and what is known to be lost is what was removed from the stream before
the group came to it (outbox.delivery.removed).

A pass reads what has been published for long and the group has come to, and of the stream only the batches of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from bson import ObjectId

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.delivery import places
from outbox.delivery.entries import Entries
from outbox.delivery.places import PAGE, Ends
from outbox.delivery.removed import Removed
from outbox.message import attempts
from outbox.message.document import State
from outbox.message.outcome import Found, put_back, settle
from outbox.protocol.settled import settled, without_subject
from outbox.servers.clock import server_time
from outbox.servers.paging import in_pages
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Partition, Stream, Subject
from outbox.streams.entry_ids import EntryId, known

ACKNOWLEDGED = "its entry was acknowledged without a result"


class Vanished:
    """The statements of one relay. Repeating any of them does no harm."""

    def __init__(self, database: Database, redis: AnyRedis, entries: Entries) -> None:
        self._database = database
        self._messages = database[OUTBOX].with_options(codec_options=LENIENT)
        self._redis = redis
        self._entries = entries
        self._removed = Removed(database, redis, entries)

    async def look(self, stream: Stream, partition: Partition) -> Found:
        delivered = await places.delivered(self._redis, stream)
        if delivered is None:
            return Found()
        if stream.subject is None:
            found = await self._removed.look(stream, partition, delivered)
            return found + await self._gone(stream, partition, delivered) if stream.gone_is_done else found
        found, unknown = Found(), list[ObjectId]()
        async for page in in_pages(self._due(stream, partition, delivered), PAGE):
            unknown += [message["_id"] for message in page if "entries" not in message]
            found += await self._examine(
                stream, stream.subject, [message for message in page if "entries" in message], delivered
            )
        if unknown:
            # Published by a version that did not record where. One walk over the stream finds it for all of them.
            await places.locate(self._database, self._entries, stream)
        for start in range(0, len(unknown), PAGE):
            query = {"_id": {"$in": unknown[start : start + PAGE]}, "state": State.PUBLISHED.value}
            due = [m async for m in self._messages.find(query, places.READ) if not places.is_ahead(m, delivered)]
            found += await self._examine(stream, stream.subject, due, delivered)
        return found

    async def _due(self, stream: Stream, partition: Partition, delivered: EntryId) -> AsyncIterator[Document]:
        """Messages that were published long ago, and whose batch the group has come to.

        By the number of the batch, which is the order of the stream: what comes in a later batch than one that is not
        due is not due either. Within a batch there is no order, since all that survived a loss are in one.
        """
        now = await server_time(self._database)
        limit, undue = now - timedelta(seconds=stream.rescue_seconds), _NONE
        async with places.published(self._messages, partition) as cursor:
            async for message in cursor:
                if not places.is_published(message):
                    continue
                if undue is not _NONE and message.get("batch") != undue:
                    return
                published_at = message.get("published_at")
                if places.is_ahead(message, delivered) or (
                    isinstance(published_at, datetime) and limit <= published_at <= now  # later: a clock was set back
                ):
                    undue = message.get("batch")
                elif isinstance(published_at, datetime) and published_at < limit:
                    yield message

    async def _gone(self, stream: Stream, partition: Partition, delivered: EntryId) -> Found:
        """Messages that the group was given, and whose entries are gone: done, as the stream's declaration says."""
        found = Found()
        async for page in in_pages(self._due(stream, partition, delivered), PAGE):
            there = await places.find(self._entries, stream, page)
            gone = defaultdict[Ends, list[Document]](list)
            for message in page:
                ends = places.ends(message)
                if message["_id"] not in there and ends and EntryId.parse(ends[1]) <= delivered:
                    gone[ends].append(message)
            held = await self._entries.are_held(stream, gone)
            done = [m for some, is_held in zip(gone.values(), held, strict=True) if not is_held for m in some]
            come_to = await places.delivered(self._redis, stream)
            if come_to is None or delivered > come_to:
                return found  # another group, of another stream: what was held of the earlier one was lost with it
            found += await settle(self._database, done)
        return found

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
                found += await put_back(self._database, stream, message, places.sent(message), reason)
        return found

    async def _stuck(
        self, stream: Stream, messages: Sequence[Document], delivered: EntryId
    ) -> list[tuple[Document, str]]:
        """Of the messages, those whose entry is gone or was acknowledged, and which of the two."""
        where = await places.find(self._entries, stream, messages)
        read = [message for message in messages if known(where.get(message["_id"])) <= delivered]
        there = [message for message in read if message["_id"] in where]
        held = await self._entries.are_held(stream, [(id_, id_) for m in there if (id_ := where[m["_id"]])])
        acknowledged = [message for message, is_held in zip(there, held, strict=True) if not is_held]
        return [(message, ACKNOWLEDGED) for message in acknowledged] + [
            (message, "its entry is gone from the stream") for message in read if message["_id"] not in where
        ]


_NONE: object = object()

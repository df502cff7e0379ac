"""Removed: messages whose entries somebody deleted or trimmed before the group was given them. They come again.

Only while the group has not come to them: after that, nothing sets such an entry apart from one that a worker has
acknowledged and deleted.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

from pymongo import UpdateOne

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.delivery import places
from outbox.delivery.entries import Entries
from outbox.delivery.places import PAGE, Ends
from outbox.message.document import Sent, State
from outbox.message.outcome import Found, put_back
from outbox.servers.paging import in_pages
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Partition, Stream
from outbox.streams.entry_ids import EntryId, Range, known

REASON = "its entry was removed from the stream before anybody was given it"

LONG_SECONDS = 1.0
"""After a look that took longer, the next one waits for twenty times as long."""


class Removed:
    """The statements of one relay, which remembers what it has looked at."""

    def __init__(self, database: Database, redis: AnyRedis, entries: Entries) -> None:
        self._database = database
        self._messages = database[OUTBOX].with_options(codec_options=LENIENT)
        self._redis = redis
        self._entries = entries
        self._seen: dict[Partition, tuple[EntryId, int]] = {}
        """What the stream told at the last look that was complete: up to where entries are gone, and how many ever."""
        self._rests: dict[Partition, tuple[EntryId, float]] = {}
        """After a look at a long backlog: up to where entries were gone, and until when another would be too soon."""

    async def look(self, stream: Stream, partition: Partition, delivered: EntryId) -> Found:
        """Put back what was removed after `delivered`, where the group stands.

        Looked for when the stream tells that something ahead of the group is gone, once for each time that anything
        was removed since: the last place where something is missing tells nothing of removals before it.
        """
        stands: Document = await self._redis.xinfo_stream(stream.key)
        first = stands.get("recorded-first-entry-id") if stands["length"] else stands["last-generated-id"]
        gone_to = max(known(first), known(stands.get("max-deleted-entry-id")))
        gone = gone_to, stands.get("entries-added", 0) - stands["length"]
        rests_for, until = self._rests.get(partition, (gone_to, 0.0))
        began = time.monotonic()
        if gone_to <= delivered or self._seen.get(partition) == gone or (rests_for == gone_to and began < until):
            return Found()
        found, complete = await self._walk(stream, partition, delivered, gone_to)
        if complete:
            self._seen[partition] = gone
        # Our own trims change how many are gone, too: a backlog behind one hole would be read through at every pass.
        took = time.monotonic() - began
        self._rests[partition] = gone_to, time.monotonic() + (20 * took if took > LONG_SECONDS else 0)
        return found

    async def _walk(
        self, stream: Stream, partition: Partition, delivered: EntryId, gone_to: EntryId
    ) -> tuple[Found, bool]:
        """Also whether the group stood still, so that all is known."""
        found, complete, divided = Found(), True, set[Ends]()
        async for page in in_pages(self._between(partition, delivered, gone_to), PAGE):
            there = await places.find(self._entries, stream, page)
            lost: list[Document] = []
            for message in page:
                batch = places.batch(message)
                if batch is None:
                    lost += [message] if message["_id"] not in there and places.is_ahead(message, delivered) else []
                elif message["_id"] not in there and batch not in divided:
                    divided.add(batch)
                    never_given = await self._divide(stream, partition, message.get("batch"), batch, delivered)
                    complete = complete and never_given is not None
                    found += await self._put_back(stream, never_given or [])
            come_to = await places.delivered(self._redis, stream)
            if come_to is None or come_to < delivered:
                return found, False  # it is another group, or another stream: the next pass looks
            if come_to != delivered:
                # What it has come to meanwhile may have been acknowledged and deleted. Of what lies ahead of it still,
                # nothing was given to anybody. On a busy stream there is no pass that it stands still in.
                lost, complete = [message for message in lost if places.is_ahead(message, come_to)], False
            found += await self._put_back(stream, lost)
        return found, complete

    async def _put_back(self, stream: Stream, lost: Sequence[Document]) -> Found:
        found = Found()
        for message in lost:
            found += await put_back(self._database, stream, message, places.sent(message), REASON)
        return found

    async def _between(self, partition: Partition, delivered: EntryId, last: EntryId) -> AsyncIterator[Document]:
        beyond = _NONE
        async with places.published(self._messages, partition) as cursor:
            async for message in cursor:
                if not places.is_published(message):
                    continue
                if beyond is not _NONE and message.get("batch") != beyond:
                    return
                if places.is_ahead(message, last):
                    beyond = message.get("batch")
                elif (ends := places.ends(message)) and EntryId.parse(ends[1]) > delivered:
                    yield message

    async def _divide(
        self, stream: Stream, partition: Partition, number: object, batch: Ends, delivered: EntryId
    ) -> Sequence[Document] | None:
        """Of a batch that the group has not left behind, the messages whose entries were removed before it came to
        them. None: that cannot be known, because the group, or somebody else who looks, has gone on meanwhile.

        The entries of a batch follow one another. So it is known how many of those after `delivered` are missing, and
        that they are of the last messages of the batch that have no entry.

        Before one of them comes again, it is recorded where each message of the batch stands. Otherwise the next look
        would miss the entry of a message that is no longer in the batch, and take an earlier one for lost. A replay by
        others before a relay has looked has that effect, once.
        """
        first, last = map(EntryId.parse, batch)
        ahead = max(delivered.next(), first)
        whose = {"batch": {"$eq": number}, "entries.first": batch[0], "entries.last": batch[1]}
        async with places.published(self._messages, partition, **whose) as found:
            messages = [message async for message in found if places.is_published(message)]
        stand: dict[Sent, EntryId] = {}
        ids = set[EntryId]()
        async for page in self._entries.walk(stream, *batch):
            ids |= {EntryId.parse(entry.id) for entry in page}
            stand |= {entry.sent: EntryId.parse(entry.id) for entry in page if entry.sent}
        come_to = await places.delivered(self._redis, stream)
        if come_to is None or come_to < delivered or (come_to != delivered and come_to >= first):
            return None
        missing = sorted((m for m in messages if places.sent(m) not in stand), key=places.position)
        removed = last.number - ahead.number + 1 - sum(id_ >= ahead for id_ in ids)
        given = missing[: max(0, len(missing) - removed)]
        lost = missing[len(given) :]
        if lost and len(lost) < len(messages):
            there = [(message, place, place) for message in messages if (place := stand.get(places.sent(message)))]
            await self._record(batch, there)  # a worker may complete some meanwhile
            gone = [(message, first, delivered) for message in given] + [(message, ahead, last) for message in lost]
            if await self._record(batch, gone) < len(gone):
                return None
        return lost

    async def _record(self, batch: Ends, stand: Sequence[tuple[Document, EntryId, EntryId]]) -> int:
        """That messages of `batch` stand from one entry to another; returns of how many that were as they were read."""
        writes = [
            UpdateOne(
                {**_standing(message), "entries.first": batch[0], "entries.last": batch[1]},
                {"$set": {"entries": Range(str(first), str(last)).record}},
                hint="_id_",
            )
            for message, first, last in stand
        ]
        if not writes:
            return 0
        return (await self._messages.bulk_write(writes, ordered=False, bypass_document_validation=True)).matched_count


_NONE: object = object()


def _standing(message: Document) -> Document:
    return {"_id": message["_id"], "state": State.PUBLISHED.value, "attempts": message["attempts"]}

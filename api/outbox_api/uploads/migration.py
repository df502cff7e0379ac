"""Migration: files that the system before the outbox has left waiting get a message each.

Those are files in `parsing start`, which its fallback wrote when it could not reach Redis, and files that are `queued`
although no message speaks of them and no entry of the old kind waits in the stream: what Redis has lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.append import MAX_MESSAGE_BYTES, Outbox
from outbox.database import FILES, Database, Document
from outbox.delivery.foreign import waiting_keys
from outbox.draft import Draft
from outbox.message.summaries import summaries
from outbox.operations import audit
from outbox.protocol.settled import complete_settled
from outbox.servers import transaction
from outbox.servers.paging import in_pages
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import FILE_STREAM, Priority, Streams, Subject
from outbox.streams.identifiers import same
from outbox_api.uploads import records as files

FALLBACK = "parsing start"
PAGE = 200
"""Files in one transaction."""

PATIENCE_SECONDS = 90.0
"""For one transaction. What a run was killed over, MongoDB holds until it gives the transaction up, after a minute."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """How many files there were: in `parsing start`; `queued` without a message or an entry; in one of the two, with an
    old entry that still waits, and so left `queued` to the workers.

    `migrated`: how many of the first two have a message now. The difference was settled meanwhile, by an old poller
    or worker.
    """

    fallback: int = 0
    lost: int = 0
    in_stream: int = 0
    migrated: int = 0

    def as_json(self) -> Document:
        return {
            "parsing_start": self.fallback, "queued_without_message": self.lost,
            "queued_in_stream": self.in_stream, "migrated": self.migrated,
        }  # fmt: skip


class Migration:
    """Walks over the files that wait, page by page, each in a transaction of its own.

    May be killed at any time and run again, also twice at once: each file gets one message, since the transaction that
    appends it takes the file out of `parsing start`, or puts a message where there was none.

    That nobody parses a file twice is asked of the old side: its API must be gone, which writes to both places without
    a transaction, and its pollers, which do not claim what they work on.
    """

    def __init__(
        self, database: Database, redis: AnyRedis, streams: Streams, *, max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        self._database = database
        self._redis = redis
        self._streams = streams
        self._family = [stream.name for stream in streams.family(FILE_STREAM)]
        self._outbox = Outbox(
            streams, database=database.name, prefix=database.place.prefix, max_message_bytes=max_message_bytes
        )

    async def count_waiting(self) -> int:
        """How many files are to be looked at: all that are in `parsing start` or `queued`."""
        return await self._database[FILES].count_documents({"parsing": {"$in": [FALLBACK, files.QUEUED]}})

    async def run(
        self,
        *,
        priority: Priority = Priority.NORMAL,
        who: str,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Migrated:
        """Migrate; `progress` is called after each page with how many files have been looked at.

        :raises NoSuchPriority: the file stream is not declared with it.
        :raises CommitUnknown: what became of a page could not be found out; run it again.
        """
        # Kept in memory: about 100 MB for a million.
        in_stream = {file_id async for file_id in waiting_keys(self._redis, self._streams[FILE_STREAM])}
        done, looked = Migrated(), 0
        async for page in self._pages(files.QUEUED):
            silent = await self._silent(page)
            lost = [file_id for file_id in silent if str(file_id) not in in_stream]
            done = replace(done, lost=done.lost + len(lost), in_stream=done.in_stream + len(silent) - len(lost))
            if lost and not dry_run:
                done = replace(done, migrated=done.migrated + await self._migrate(lost, files.QUEUED, priority, who))
            progress(looked := looked + len(page))
        async for page in self._pages(FALLBACK):
            # Of some, Redis had taken the entry, and its reply was lost.
            taken = [file_id for file_id in page if str(file_id) in in_stream]
            without = [file_id for file_id in page if str(file_id) not in in_stream]
            done = replace(done, fallback=done.fallback + len(without), in_stream=done.in_stream + len(taken))
            if taken and not dry_run:
                await self._queue(taken)
            if without and not dry_run:
                done = replace(done, migrated=done.migrated + await self._migrate(without, FALLBACK, priority, who))
            progress(looked := looked + len(page))
        return done

    async def _pages(self, parsing: str) -> AsyncIterator[list[Any]]:
        """Ids of files in this status. One that changes meanwhile may be among them or not."""
        async with self._database[FILES].find({"parsing": parsing}, {"_id": 1}, batch_size=PAGE) as found:
            async for page in in_pages(found, PAGE):
                yield [record["_id"] for record in page]

    async def _silent(self, file_ids: Sequence[Any], session: AsyncClientSession | None = None) -> list[Any]:
        """Those that no message is about, in whatever state."""
        subject = self._streams[FILE_STREAM].subject or Subject()
        known = await summaries(self._database, subject, file_ids, self._family, session)
        return [file_id for file_id in file_ids if same(file_id) not in known]

    async def _queue(self, file_ids: Sequence[Any]) -> None:
        """What the old API would have written, had it had the reply. Else the message that such an entry becomes, once
        it is adopted, would be taken for settled by whoever looks after lost ones."""
        change = {"$set": {"parsing": files.QUEUED}, "$currentDate": {"updated_at": True}}
        await self._database[FILES].update_many({"_id": {"$in": list(file_ids)}, "parsing": FALLBACK}, change)

    async def _migrate(self, file_ids: Sequence[Any], parsing: str, priority: Priority, who: str) -> int:
        messages: dict[Any, Any] = {}

        async def body(session: AsyncClientSession) -> None:
            messages.clear()
            # Asked again, in the transaction: another run may have been faster. If it is at work now, both change the
            # files' records, and one of them begins anew.
            still = self._database[FILES].find({"_id": {"$in": list(file_ids)}, "parsing": parsing}, session=session)
            records = await still.to_list()
            if parsing == files.QUEUED:
                silent = set(map(same, await self._silent(file_ids, session)))
                records = [record for record in records if same(record["_id"]) in silent]
            if not records:
                return
            ids = [record["_id"] for record in records]
            await complete_settled(self._database, self._streams, FILES, ids, session)
            # All at once, for there may be millions.
            drafts = [Draft(_fields(record), **files.naming(record["_id"])) for record in records]
            named = zip(ids, drafts, strict=True)
            writes = [files.requeue(self._database, file_id, draft.id) for file_id, draft in named]
            ids_of_messages = await self._outbox.append_many(
                session, FILE_STREAM, drafts, priority=priority, writes=writes
            )
            messages.update(zip(ids, ids_of_messages, strict=True))
            await audit.record(
                self._database, who=who, action="migrate", count=len(messages), details={"from": parsing},
                session=session,
            )  # fmt: skip

        async def happened() -> bool:
            first = next(iter(messages), None)
            return first is not None and await files.happened(self._database, first, messages[first])

        await transaction.run(self._database.client, body, happened=happened, seconds=PATIENCE_SECONDS)
        return len(messages)


def _fields(record: Document) -> dict[str, str]:
    """What a worker reads of an upload, as far as the old system has recorded it."""
    folder = record.get("folder_id")
    fields = {"file_id": str(record["_id"]), "folder_id": "" if folder is None else str(folder)}
    if filename := record.get("filename"):
        fields["filename"] = str(filename)
    return fields

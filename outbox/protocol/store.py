"""The relay's statements on messages while it drains: fetch, mark, bury."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bson import ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateMany
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, OperationFailure

from outbox.database import OUTBOX, Database, Document
from outbox.errors import InvalidMessage, LookAgain
from outbox.message import transitions
from outbox.message.document import Message, Sent, State, by_attempt, read_document
from outbox.message.poison import RAW, TOO_LARGE, Poison, bury, bury_full, identity
from outbox.message.transitions import Place
from outbox.protocol import fences
from outbox.protocol.leases import Held, Lease
from outbox.protocol.turns import Turn, may_go
from outbox.streams.declaration import Partition
from outbox.streams.entry_ids import Range

COUNTED = 1_000_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """Pending messages by position, those that cannot be sent apart. `more`: a limit was reached.

    `waits`: those that follow wait for messages of their keys in other partitions. `at`: the snapshot's time; what was
    committed until then, and no later, was looked at.
    """

    messages: tuple[Message, ...]
    poison: tuple[Poison, ...]
    more: bool
    waits: bool = False
    at: Timestamp | None = None


class Mark(NamedTuple):
    """What is to be marked under a lease that was held a moment ago: see Store.mark."""

    held: Held
    sent: Sequence[Sent]
    entries: Range


class Store:
    """Messages of one database, as a relay that holds leases reads and changes them.

    Every read is made in the session of its lease, so that it sees at least what was written under that lease before,
    also right after a failover.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._messages = database[OUTBOX]

    async def fetch(
        self,
        partition: Partition,
        session: AsyncClientSession,
        *,
        limit: int,
        max_bytes: int,
        beside: Collection[int] = (),
    ) -> Fetched:
        """Up to `limit` pending messages, or about `max_bytes` of them, by position, as one majority snapshot.

        A scan that is not one snapshot can see the second of two transactions and miss the first, which would then be
        published after it.

        :param beside: numbers of all partitions of the stream, if messages of one key may be in several of them.
        """
        messages: list[Message] = []
        turns: list[Turn] = []
        poison: list[Poison] = []
        size = 0
        pending = {"stream": partition.stream, "partition": partition.number, "state": State.PENDING.value}
        documents, at, left = await self._snapshot(pending, limit, session)
        for document in documents:
            size += len(document.raw)
            try:
                messages.append(read_document(bytes(document.raw)))
                if beside:
                    turns.append((messages[-1].key, document["position"]))
            except InvalidMessage as error:
                poison.append(Poison(identity(bytes(document.raw)), str(error)))
            if size >= max_bytes:
                break
        more = left or size >= max_bytes or len(messages) + len(poison) >= limit
        if not beside:
            return Fetched(tuple(messages), tuple(poison), more, at=at)
        going = await may_go(self._messages, partition, beside, turns, session)
        return Fetched(tuple(messages[:going]), tuple(poison), more, waits=going < len(messages), at=at)

    async def _snapshot(
        self, pending: Document, limit: int, session: AsyncClientSession
    ) -> tuple[list[RawBSONDocument], Timestamp | None, bool]:
        """One reply: the documents, the snapshot's time, and whether others did not fit in.

        A command and not a cursor, which keeps the time of its snapshot to itself.
        """
        concern: Document = {"level": "snapshot"}
        if session.operation_time:
            concern["afterClusterTime"] = session.operation_time
        find: Document = {"filter": pending, "sort": {"position": 1}, "limit": limit, "batchSize": limit}
        reply = await self._database.command(
            "find", self._messages.name, **find, hint="pending", readConcern=concern, session=session, codec_options=RAW
        )
        cursor: Mapping[str, Any] = reply["cursor"]
        if cursor["id"]:
            await self._database.command("killCursors", self._messages.name, cursors=[cursor["id"]], session=session)
        return list(cursor["firstBatch"]), cursor.get("atClusterTime"), bool(cursor["id"])

    async def mark(self, held: Held, session: AsyncClientSession, sent: Iterable[Sent], entries: Range) -> int:
        """Record that the batch which the lease has reached is in the stream; returns how many messages were marked.

        With its `entries`, since without them nobody could find out what has become of them.

        The lease must name them (`intent`). May be repeated, and mark what an earlier owner could not. A message that
        was completed meanwhile, or put back by an operator after it was marked, is left as it is: its attempts tell.

        :raises LookAgain: one still waits for this very attempt, and is not marked.
        """
        progress, token, sent = held.progress, held.lease.token, list(sent)
        marked, short = 0, list[Document]()
        for attempt, ids in by_attempt(sent).items():
            place = Place(progress.batch, progress.tag, entries.record, attempt)
            unmarked = transitions.unmarked(ids, attempt)
            try:
                async with fences.in_time(self._messages):
                    result = await self._messages.update_many(
                        *transitions.publish(ids, place, token=token),
                        session=session,
                        # Without it the planner may choose to look through all that is pending, once for each batch.
                        hint="_id_",
                        # What is set here always fits the validator, which takes an eighth of the time of a mark.
                        bypass_document_validation=True,
                    )
            except OperationFailure as error:
                if error.code in TOO_LARGE and await bury_full(self._messages, unmarked, State.PENDING, session):
                    raise LookAgain("a message that was published has no room for its mark") from error
                raise
            marked += result.modified_count
            if result.matched_count < len(ids):
                short.append(unmarked)
        # After all of them: one that is fenced keeps none of another attempt from its mark.
        for unmarked in short:
            await fences.look_why(self._messages, token, unmarked, session)
        if marked and entries.mixed:
            await self._mix(sent, entries, token, session)
        return marked

    async def _mix(self, sent: Sequence[Sent], entries: Range, token: int, session: AsyncClientSession) -> None:
        """Of batches that a mark before has reached in part, nobody may count the entries: what it has marked gets the
        range of all of them. One that stands alone has no others."""
        for attempt, ids in by_attempt(sent).items():
            where = {"_id": {"$in": ids}, "state": State.PUBLISHED.value, "attempts": attempt}
            several = {"$expr": {"$ne": ["$entries.first", "$entries.last"]}, **transitions.passable(token)}
            async with fences.in_time(self._messages):
                await self._messages.update_many(
                    {**where, **several}, {"$set": {"entries": entries.record}},
                    session=session, hint="_id_", bypass_document_validation=True,
                )  # fmt: skip

    async def mark_all(self, marks: Sequence[Mark], session: AsyncClientSession) -> bool:
        """`mark` for several batches at once. False: some messages were not as they should be, or not all were marked.

        Nearly always, workers have been faster. `mark` may be called for each of them then, which tells.
        """
        writes, count = [], 0
        for held, sent, entries in marks:
            for attempt, ids in by_attempt(sent).items():
                place = Place(held.progress.batch, held.progress.tag, entries.record, attempt)
                guard, change = transitions.publish(ids, place, token=held.lease.token)
                writes.append(UpdateMany(guard, change, hint="_id_"))
                count += len(ids)
        async with fences.in_time(self._messages):
            try:
                result = await self._messages.bulk_write(
                    writes, ordered=False, bypass_document_validation=True, session=session
                )
            except BulkWriteError as error:
                failed = error.details["writeErrors"]
                if any(one["code"] not in TOO_LARGE for one in failed) or error.details["writeConcernErrors"]:
                    raise
                return False  # some have no room for their marks
            if result.matched_count == count:
                return True
            every = by_attempt(one for mark in marks for one in mark.sent)
            left = [transitions.unmarked(ids, attempt) for attempt, ids in every.items()]
            return await self._messages.find_one({"$or": left}, {"_id": 1}, session=session) is None

    async def fence(self, lease: Lease, ids: Sequence[ObjectId], session: AsyncClientSession) -> None:
        """Before a partition is opened under a new token: what was sent under an earlier one changes none of these."""
        where = {"stream": lease.partition.stream, "partition": lease.partition.number}
        await fences.raise_fences(self._messages, ids, lease.token, where, session)

    async def try_to_mark(self) -> None:
        """Mark nothing, in the way of `mark`. Raises OperationFailure when the user has no right to do that."""
        nothing = transitions.publish([], Place(0, "", {}, 1), token=0)
        await self._messages.update_one(*nothing, bypass_document_validation=True)

    async def bury(self, poison: Sequence[Poison]) -> int:
        """Make messages that cannot be sent dead, each with its reason; returns how many were pending still."""
        return await bury(self._messages, poison)

    async def any_pending(self, streams: Collection[str] | None = None) -> bool:
        """Whether a message waits to be published, in any of `streams`; by default in any at all."""
        where = {"state": State.PENDING.value} | ({} if streams is None else {"stream": {"$in": list(streams)}})
        return await self._messages.find_one(where, {"_id": 1}) is not None

    async def look_for_pending(self, before: Timestamp | None = None) -> tuple[bool, Timestamp | None]:
        """Whether a message waits to be published, and the time of this look, if the server says it.

        :param before: only one whose position is not after the time of an earlier look.
        """
        where: Document = {"state": State.PENDING.value} | ({} if before is None else {"position": {"$lte": before}})
        reply = await self._database.command(
            "find", self._messages.name, filter=where, projection={"_id": 1}, limit=1, singleBatch=True, hint="pending"
        )
        return bool(reply["cursor"]["firstBatch"]), reply.get("operationTime")

    async def count_pending(self) -> int:
        """How many messages wait to be published, in all streams; `COUNTED` at most: it is for a line in the log."""
        return await self._messages.count_documents({"state": State.PENDING.value}, limit=COUNTED, hint="pending")

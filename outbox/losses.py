"""The statements by which what Redis lost is found in MongoDB and taken back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.checkpoint import Opened, Sent
from outbox.leases import Lease, Progress, under_lease
from outbox.message import State
from outbox.schema import OUTBOX, Database, Document
from outbox.streams import Streams, Subject

PAGE = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """A page of lost messages: how many are pending again, and how many are no longer wanted and so completed."""

    recovered: int
    settled: int


class Losses:
    """Finding and taking back lost messages of a leased partition.

    Each call is one transaction under the lease, so that an owner that slept cannot take back what the next one has
    published again. Each can be repeated after a crash.
    """

    def __init__(self, database: Database, streams: Streams) -> None:
        self._database = database
        self._messages = database[OUTBOX]
        self._streams = streams

    async def shares_history(self, opened: Opened, session: AsyncClientSession) -> bool:
        """Whether MongoDB, too, knows the checkpoint's last batch under its tag: then all before it survived."""
        ids = [message.id for message in opened.messages]
        known = {"_id": {"$in": ids}, "batch": opened.batch, "tag": opened.tag}
        return await self._messages.find_one(known, {"_id": 1}, session=session) is not None

    async def keep(self, lease: Lease, session: AsyncClientSession, progress: Progress, there: Sequence[Sent]) -> int:
        """Of messages found in the stream: label those of this partition with `progress`, as surviving.

        A pending message that stands there under its next attempt was published and never marked, so it is marked now.
        Returns how many were kept.
        """
        by_attempt: defaultdict[int, list[ObjectId]] = defaultdict(list)
        for message in there:
            by_attempt[message.attempt].append(message.id)

        async def body(session: AsyncClientSession) -> int:
            kept = 0
            here = {"stream": lease.partition.stream, "partition": lease.partition.number}
            label: Document = {"batch": progress.batch, "tag": progress.tag}
            for attempt, ids in by_attempt.items():
                survived = await self._messages.update_many(
                    {"_id": {"$in": ids}, **here, "state": State.PUBLISHED.value, "attempts": attempt},
                    {"$set": label},
                    session=session,
                )
                unmarked = await self._messages.update_many(
                    {"_id": {"$in": ids}, **here, "state": State.PENDING.value, "attempts": attempt - 1},
                    {
                        "$set": {**label, "state": State.PUBLISHED.value, "attempts": attempt},
                        "$currentDate": {"published_at": True},
                    },
                    session=session,
                )
                kept += survived.matched_count + unmarked.matched_count
            return kept

        return await under_lease(self._database, lease, session, body)

    async def take_back(self, lease: Lease, session: AsyncClientSession, lost: Document) -> Taken | None:
        """Make a page of published messages that match `lost` pending again, or completed if no longer wanted.

        None: there are no more.
        """
        of_partition = {
            "stream": lease.partition.stream, "partition": lease.partition.number, "state": State.PUBLISHED.value,
        }  # fmt: skip
        page = await self._messages.find({**of_partition, **lost}, {"key": 1}, session=session).limit(PAGE).to_list()
        if not page:
            return None
        subject = self._streams[lease.partition.stream].subject
        wanted_keys = await wanted(self._database, subject, [message["key"] for message in page], session)
        again = [message["_id"] for message in page if subject is None or message["key"] in wanted_keys]
        settled = [message["_id"] for message in page if subject is not None and message["key"] not in wanted_keys]

        async def body(session: AsyncClientSession) -> Taken:
            published = {"state": State.PUBLISHED.value, **lost}
            recovered = await self._messages.update_many(
                {"_id": {"$in": again}, **published},
                {"$set": {"state": State.PENDING.value}, "$inc": {"recovered": 1}},
                session=session,
            )
            completed = await self._messages.update_many(
                {"_id": {"$in": settled}, **published},
                {"$set": {"state": State.COMPLETED.value}, "$currentDate": {"completed_at": True}},
                session=session,
            )
            return Taken(recovered.modified_count, completed.modified_count)

        return await under_lease(self._database, lease, session, body)

    async def settle(self, lease: Lease, session: AsyncClientSession, progress: Progress) -> None:
        """Record that the partition stands at `progress` now, which ends a recovery. Raises LeaseLost."""

        async def body(_: AsyncClientSession) -> None:
            """Nothing but the lease itself."""

        await under_lease(self._database, lease, session, body, reached=progress)


async def wanted(
    database: Database,
    subject: Subject | None,
    keys: Sequence[str],
    session: AsyncClientSession | None = None,
) -> set[str]:
    """Of `keys`, those whose subject is not settled yet. Without a subject: none."""
    if subject is None:
        return set()
    ids = [ObjectId(key) if ObjectId.is_valid(key) else key for key in keys]
    found = database[subject.collection].find(
        {"_id": {"$in": ids}, subject.field: subject.wanted}, {"_id": 1}, session=session
    )
    return {str(document["_id"]) async for document in found}

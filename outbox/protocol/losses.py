"""The statements by which what Redis lost is found in MongoDB and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.errors import LookAgain
from outbox.message import transitions
from outbox.message.document import Sent, State, by_attempt, is_ours
from outbox.message.poison import FULL, TOO_FULL, TOO_LARGE, bury_all, bury_full
from outbox.message.transitions import Place, Transition
from outbox.protocol import fences
from outbox.protocol.leases import Held, Progress
from outbox.protocol.settled import NEEDED, settled
from outbox.streams.declaration import Partition, Streams
from outbox.streams.entry_ids import Range

log = structlog.get_logger(__name__)

PAGE = 2000
"""Messages that are taken back at once. Each search for the next ones passes over the index entries of those before,
which MongoDB keeps for some minutes: so there should be few."""

SETTLED_PAGE = 500
"""Of them, how many are looked up together in the past, of which only so many moments are looked at."""

NO_OBJECT_ID = "its _id is no ObjectId, so no relay has published it: append what it asks for anew"

Hold = Callable[[Sequence[ObjectId]], Awaitable[Held]]
"""Records which messages are written to next, and proves that the lease is held."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A page of lost messages: how many are pending again, and how many are no longer wanted and so completed."""

    recovered: int
    settled: int


class Losses:
    """Finding and taking back lost messages of a leased partition.

    Each write needs a fresh proof that the lease is held and names the messages (`intent`), so that an owner that slept
    cannot take back what the next one has published again. Each can be repeated after a crash.

    Each write raises LookAgain when a message that it should have changed is as it was.
    """

    def __init__(self, database: Database, streams: Streams) -> None:
        self._database = database
        self._messages = database[OUTBOX].with_options(codec_options=LENIENT)
        self._streams = streams

    async def shares_history(self, partition: Partition, there: Progress, session: AsyncClientSession) -> bool:
        """Whether MongoDB, too, knows the checkpoint's last batch: then all that was published before it survived.

        On the word of a published message only: a replayed one may have been lost, taken back and replayed since.
        """
        known = {**_in(partition), "state": State.PUBLISHED.value, "batch": there.batch, "tag": there.tag}
        return await self._messages.find_one(known, {"_id": 1}, session=session) is not None

    async def any_left(self, partition: Partition, session: AsyncClientSession) -> bool:
        """Whether there is any message that a recovery of the partition could keep or take back."""
        for state, index in ((State.PUBLISHED, "published"), (State.PENDING, "pending")):
            found = self._messages.find({**_in(partition), "state": state.value}, {"_id": 1}, session=session)
            if await found.hint(index).limit(1).to_list():
                return True
        return False

    @asynccontextmanager
    async def as_new_as(self, sessions: Sequence[AsyncClientSession]) -> AsyncIterator[AsyncClientSession]:
        """A session whose reads see at least what those of `sessions` would."""
        async with self._database.client.start_session(causal_consistency=True) as session:
            for other in sessions:
                if other.cluster_time and other.operation_time:
                    session.advance_cluster_time(other.cluster_time)
                    session.advance_operation_time(other.operation_time)
            yield session

    async def partitions_of(self, ids: Sequence[ObjectId], session: AsyncClientSession) -> dict[ObjectId, Partition]:
        """The partitions of those of the messages that there are."""
        found = self._messages.find({"_id": {"$in": list(ids)}}, {"stream": 1, "partition": 1}, session=session)
        return {m["_id"]: Partition(m["stream"], m["partition"]) async for m in found if _is_in_one(m)} if ids else {}

    async def keep(
        self, held: Held, session: AsyncClientSession, at: Progress, there: Sequence[Sent], entries: Range
    ) -> int:
        """Messages of this partition that were found in the stream have survived: they now belong to the batch `at`.

        Each is among `entries`, which is recorded: what stood there before may be of another attempt, or of a history
        that is gone.

        A pending message that stands there under its next attempt was published and never marked, so it is marked now.
        Returns how many were kept.
        """
        kept, token, short = 0, held.lease.token, list[Document]()
        for attempt, ids in sorted(by_attempt(there).items()):
            here = {"_id": {"$in": ids}, **_in(held.lease.partition)}
            place = Place(at.batch, at.tag, entries.record, attempt)
            try:
                async with fences.in_time(self._messages):
                    survived = await self._messages.update_many(
                        *transitions.keep(here, place, token=token), session=session
                    )
                    unmarked = await self._messages.update_many(
                        *transitions.publish_kept(here, place, token=token), session=session
                    )
            except OperationFailure as error:
                if error.code in TOO_LARGE:
                    for state in (State.PUBLISHED, State.PENDING):
                        if await self._bury_full(held.lease.partition, here, state, session):
                            raise LookAgain("a message that survived has no room for a change") from error
                raise
            changed = survived.matched_count + unmarked.matched_count
            kept += changed
            if changed < len(ids):  # completed, as most that a search finds
                short.append(transitions.not_kept(here, place))
        # After all of them: one that is fenced keeps none of another attempt from what is known of it.
        for left in short:
            await fences.look_why(self._messages, token, left, session)
        return kept

    async def take_back(
        self, partition: Partition, hold: Hold, session: AsyncClientSession, lost: Document
    ) -> Taken | None:
        """Make a page of published messages that match `lost` pending again, or completed if no longer wanted.

        Each goes out again under the attempt that was lost: should Redis remember it after all, it is known by that.
        One that no relay can have published is dead. None: there are no more.
        """
        published = {**_in(partition), "state": State.PUBLISHED.value, **lost}
        looked_at: Document = {**NEEDED, "full": FULL, "id_type": {"$type": "$_id"}}
        page = await self._messages.find(published, looked_at, session=session).limit(PAGE).to_list()
        if not page:
            return None
        if any(message.pop("id_type") != "objectId" for message in page):
            # By what they are, and not by their ids: Python may read one as another, by which nothing is found.
            others = {**published, "_id": {"$not": {"$type": "objectId"}}}
            if await bury_all(self._messages, others, State.PUBLISHED, NO_OBJECT_ID):
                log.error("messages marked dead", partition=str(partition), reasons=[NO_OBJECT_ID])
            return Taken(0, 0)
        if any(message.pop("full") for message in page):
            # Before it is named in the lease: a message without room cannot be fenced either.
            await self._bury_full(partition, published, State.PUBLISHED, session)
            return Taken(0, 0)
        token = (await hold([message["_id"] for message in page])).lease.token
        done = await self._settled(partition, page, session)
        again = [message["_id"] for message in page if not (is_ours(message) and message["_id"] in done)]
        recovered = await self._write(transitions.recover(again, published, token=token), again, session)
        completed = await self._write(transitions.complete_lost(done, published, token=token), done, session)
        if recovered + completed < len(page):
            unchanged = {"_id": {"$in": [message["_id"] for message in page]}, **published}
            await fences.look_why(self._messages, token, unchanged, session)
        return Taken(recovered, completed)

    async def _settled(self, partition: Partition, page: Sequence[Document], session: AsyncClientSession) -> set[Any]:
        subject = self._streams[partition.stream].subject
        done: set[Any] = set()
        for start in range(0, len(page), SETTLED_PAGE):
            done |= await settled(self._database, subject, page[start : start + SETTLED_PAGE], session)
        return done

    async def _bury_full(
        self, partition: Partition, where: Document, state: State, session: AsyncClientSession
    ) -> bool:
        async with fences.in_time(self._messages):
            buried = await bury_full(self._messages, where, state, session)
        if buried:
            log.error("messages marked dead", partition=str(partition), reasons=[TOO_FULL])
        return buried

    async def _write(self, transition: Transition, ids: Collection[Any], session: AsyncClientSession) -> int:
        """How many of `ids`, which are all that it is about, were changed."""
        if not ids:
            return 0
        async with fences.in_time(self._messages):
            result = await self._messages.update_many(
                *transition,
                session=session,
                hint="_id_",
                # As in Store.mark: what is set here always fits, and a check of each takes as long as the rest.
                bypass_document_validation=True,
            )
        return result.matched_count


def _is_in_one(message: Document) -> bool:
    """Or it was written around the library, and is none that a relay has published."""
    return isinstance(message.get("stream"), str) and isinstance(message.get("partition"), int)


def _in(partition: Partition) -> Document:
    return {"stream": partition.stream, "partition": partition.number}

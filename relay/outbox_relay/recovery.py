"""Reconcile MongoDB with a partition's checkpoint, before anything new is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import Database, Document
from outbox.operations import recoveries
from outbox.protocol.checkpoint import Checkpoints, Fenced, Opened
from outbox.protocol.fences import TokenTooLow
from outbox.protocol.leases import Held, Lease, Leases, Progress
from outbox.protocol.losses import PAGE, Losses
from outbox.protocol.store import Store
from outbox.protocol.tags import new_tag
from outbox.streams.declaration import Partition
from outbox.streams.entry_ids import EntryId, is_entry_id
from outbox_relay.surveys import Page, Surveys

log = structlog.get_logger(__name__)


class Verdict(Enum):
    """How the two sides stand to each other."""

    SAME = "same"
    UNMARKED = "unmarked"
    """A batch was published and not marked: a crash or a lost reply between the two."""
    TAIL_LOST = "tail lost"
    """Redis is behind, in the same history: what came after its last batch is lost, unless only the checkpoint is
    an older copy: what the stream shows after that batch has survived."""
    OTHER_HISTORY = "other history"
    """Redis does not continue what MongoDB knows, or the stream is another one: only the stream shows what is there."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Where both sides stand now, and what it took."""

    progress: Progress
    verdict: Verdict
    marked: int = 0
    recovered: int = 0
    settled: int = 0
    kept: int = 0


class Recovery:
    """Opens checkpoints and makes MongoDB agree with them. Every step can be repeated after a crash."""

    def __init__(
        self,
        database: Database,
        store: Store,
        losses: Losses,
        checkpoints: Checkpoints,
        leases: Leases,
        *,
        many: Callable[[Partition], None] = lambda _: None,
        gather_seconds: float | None = None,
    ) -> None:
        """:param many: called with a partition that has lost a page or more, before the first of them is changed.
        :param gather_seconds: how long a search waits for other partitions, instead of the usual time.
        """
        self._database = database
        self._store = store
        self._losses = losses
        self._checkpoints = checkpoints
        self._leases = leases
        self._many = many
        self._surveys = Surveys(checkpoints, losses, gather_seconds=gather_seconds)

    async def reconcile(self, lease: Lease, session: AsyncClientSession) -> Reconciled:
        """Open the checkpoint under `lease`, and account for every message that one side knows and the other does not.

        `lease` has a token under which nothing was done yet (Leases.begin_anew). First of all the messages are fenced
        that a write under an earlier one may still change: after that, what is read here stays true.

        Raises LeaseLost when another owner has the partition, LookAgain when something changed meanwhile.
        """
        held, intent = await self._leases.take_up(lease, session)
        await self._store.fence(lease, intent, session)
        opened = await self._checkpoints.open(lease.partition, lease.token)
        if isinstance(opened, Fenced):
            # The lease is ours by MongoDB's word, and Redis has seen a higher token: MongoDB was restored from an older
            # copy. The lease takes a token above Redis's, and the partition is opened anew under that one.
            if held.progress == Progress(0, ""):  # of a stream that was removed, and is registered again
                log.info("redis knows the partition from before", partition=str(lease.partition))
            else:
                log.error(
                    "redis has a newer lease token",
                    advice="was MongoDB restored from a backup?",
                    partition=str(lease.partition),
                )
            raise TokenTooLow(f"{lease.partition}: redis knows token {opened.token}", opened.token)
        known = held.progress
        verdict = await self._judge(lease, known, opened, session)
        if verdict in (Verdict.SAME, Verdict.UNMARKED):
            # Also when both say the same: the lease is advanced before the messages are marked.
            ids = [message.id for message in opened.messages]
            held = await self._leases.hold(lease, session, opened.at, after=known, intent=ids)
            marked = await self._store.mark(held, session, opened.messages, opened.entries)
            return Reconciled(opened.at, verdict, marked=marked)
        # From here until the end MongoDB does not know where the partition stands, so that whoever is interrupted, or
        # interrupts, starts the whole recovery again.
        recovery = Progress(0, new_tag())
        await self._leases.hold(lease, session, recovery, after=known)
        result = await self._recover(lease, session, opened, verdict)
        await self._checkpoints.stamp(lease.partition, lease.token, result.progress, opened)
        if known.batch or result.recovered or result.settled or result.kept:
            await self._tell(lease, known, opened, result)
        await self._leases.hold(lease, session, result.progress, after=recovery)
        return result

    async def _judge(self, lease: Lease, known: Progress, opened: Opened, session: AsyncClientSession) -> Verdict:
        if known.batch and not opened.other:
            if opened.at == known:
                return Verdict.SAME
            if opened.follows(known):
                return Verdict.UNMARKED
            if opened.at.batch < known.batch and await self._losses.shares_history(lease.partition, opened.at, session):
                return Verdict.TAIL_LOST
        return Verdict.OTHER_HISTORY

    async def _recover(self, lease: Lease, session: AsyncClientSession, opened: Opened, verdict: Verdict) -> Reconciled:
        """Account for every published message: kept under the batch that will end the recovery, or taken back."""

        async def hold(ids: Sequence[ObjectId]) -> Held:
            if len(ids) >= PAGE:
                self._many(lease.partition)
            return await self._leases.hold(lease, session, intent=ids)

        end = Progress(opened.at.batch + 1, new_tag())
        kept = recovered = settled = 0
        tail = verdict is Verdict.TAIL_LOST
        survivors = self._tail(lease, opened, session) if tail else self._surveys.pages(lease, opened, session)
        async with aclosing(survivors) as pages:
            async for page, entries in pages:
                held = await hold([message.id for message in page])
                kept += await self._losses.keep(held, session, end, page, entries)
        # Two steps, so that each reads its own range of the index.
        others: Document = {"batch": {"$gt" if tail else "$ne": end.batch}}
        lost: list[Document] = [others, {"batch": end.batch, "tag": {"$ne": end.tag}}]
        for query in lost:
            while taken := await self._losses.take_back(lease.partition, hold, session, query):
                recovered += taken.recovered
                settled += taken.settled
        return Reconciled(end, verdict, recovered=recovered, settled=settled, kept=kept)

    async def _tail(self, lease: Lease, opened: Opened, session: AsyncClientSession) -> AsyncGenerator[Page]:
        """What the stream holds of the partition after the checkpoint's last batch, in pages.

        Nothing, if stream and checkpoint went back together: then there are only entries of other partitions. A search
        of its own, because it is short, and begins elsewhere for each partition.
        """
        # Whatever is added from here on is of other partitions, which may go on for as long as they have a backlog.
        end = (await self._checkpoints.glance(lease.partition.stream, [lease.partition.number], group=False)).last
        scan = self._checkpoints.scan(lease.partition, lease.token, opened, after=opened.entries.last)
        async with aclosing(scan):
            async for sent, entries in scan:
                partitions = await self._losses.partitions_of([message.id for message in sent], session)
                if page := [message for message in sent if partitions.get(message.id) == lease.partition]:
                    yield page, entries
                if is_entry_id(end) and is_entry_id(entries.last) and EntryId.parse(end) <= EntryId.parse(entries.last):
                    return

    async def _tell(self, lease: Lease, known: Progress, opened: Opened, result: Reconciled) -> None:
        verdict = result.verdict.value
        counts = {"recovered": result.recovered, "settled": result.settled, "kept": result.kept}
        await recoveries.record(self._database, lease.partition, owner=lease.owner, verdict=verdict, **counts)
        log.error(
            "redis data loss recovered",
            partition=str(lease.partition),
            verdict=verdict,
            **counts,
            batch_in_mongodb=known.batch,
            batch_in_redis=opened.at.batch,
        )

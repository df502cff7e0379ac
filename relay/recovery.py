"""Reconcile MongoDB with a partition's checkpoint, before anything new is read."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from enum import Enum

import structlog
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import recoveries
from outbox.checkpoint import Checkpoints, Fenced, Opened
from outbox.leases import Lease, LeaseLost, Leases, Progress
from outbox.losses import Losses
from outbox.schema import Database, Document
from outbox.store import Store

log = structlog.get_logger(__name__)


class Verdict(Enum):
    """How the two sides stand to each other."""

    SAME = "same"
    UNMARKED = "unmarked"
    """A batch was published and not marked: a crash or a lost reply between the two."""
    TAIL_LOST = "tail lost"
    """Redis is behind, in the same history: what came after its last batch is lost."""
    OTHER_HISTORY = "other history"
    """Redis does not continue what MongoDB knows, or the stream was deleted: only the stream tells what is there."""


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
        self, database: Database, store: Store, losses: Losses, checkpoints: Checkpoints, leases: Leases
    ) -> None:
        self._database = database
        self._store = store
        self._losses = losses
        self._checkpoints = checkpoints
        self._leases = leases

    async def reconcile(self, lease: Lease, session: AsyncClientSession) -> Reconciled:
        """Open the checkpoint under `lease`, and account for every message that one side knows and the other does not.

        Raises LeaseLost when another owner has the partition.
        """
        opened = await self._checkpoints.open(lease.partition, lease.token)
        held = await self._leases.hold(lease, session)
        if isinstance(opened, Fenced):
            # The lease is ours by MongoDB's word, and Redis has seen a higher token: MongoDB was restored from an older
            # copy. The lease takes a token above Redis's, and the partition is opened anew under that one.
            log.error("redis knows a newer lease: was mongodb restored?", partition=str(lease.partition))
            await self._leases.overtake(lease, above=opened.token)
            raise LeaseLost(f"{lease.partition}: the lease goes on under a higher token")
        known, there = held.progress, Progress(opened.batch, opened.tag)
        verdict = await self._judge(known, opened, session)
        match verdict:
            case Verdict.SAME | Verdict.UNMARKED:
                # Also when both say the same: the lease is advanced before the messages are marked.
                held = await self._leases.hold(lease, session, there)
                marked = await self._store.mark(held, session, opened.messages)
                return Reconciled(there, verdict, marked=marked)
            case Verdict.TAIL_LOST:
                result = await self._take_back(lease, session, there, verdict, {"batch": {"$gt": there.batch}})
            case Verdict.OTHER_HISTORY:
                look = secrets.token_hex(8)
                kept = await self._keep_what_is_there(lease, session, there, look)
                # Two steps, so that each reads its own range of the index: what is kept has the checkpoint's batch.
                not_kept = ({"batch": {"$ne": there.batch}}, {"batch": there.batch, "kept": {"$ne": look}})
                result = await self._take_back(lease, session, there, verdict, *not_kept, kept=kept)
        await recoveries.record(
            self._database, lease.partition, owner=lease.owner, verdict=verdict.value,
            recovered=result.recovered, settled=result.settled, kept=result.kept,
        )  # fmt: skip
        # Last, so that a crash before it starts the whole recovery again.
        await self._leases.hold(lease, session, there)
        if opened.behind and not await self._checkpoints.resume(lease.partition, lease.token):
            raise LeaseLost(f"{lease.partition}: another owner has opened the checkpoint")
        log.error(
            "redis has lost data, and what is wanted of it is pending again",
            partition=str(lease.partition),
            verdict=verdict.value,
            recovered=result.recovered,
            settled=result.settled,
            kept=result.kept,
            batch_in_mongodb=known.batch,
            batch_in_redis=there.batch,
        )
        return result

    async def _judge(self, known: Progress, opened: Opened, session: AsyncClientSession) -> Verdict:
        if not opened.behind:
            if (opened.batch, opened.tag) == (known.batch, known.tag):
                return Verdict.SAME
            if opened.batch == known.batch + 1 and opened.previous == known.tag:
                return Verdict.UNMARKED
            if opened.batch < known.batch and await self._losses.shares_history(opened, session):
                return Verdict.TAIL_LOST
        return Verdict.OTHER_HISTORY

    async def _keep_what_is_there(self, lease: Lease, session: AsyncClientSession, there: Progress, look: str) -> int:
        kept = 0
        async for page in self._checkpoints.entries(lease.partition.stream):
            if page:
                held = replace(await self._leases.hold(lease, session), progress=there)
                kept += await self._losses.keep(held, session, look, page)
        return kept

    async def _take_back(
        self,
        lease: Lease,
        session: AsyncClientSession,
        there: Progress,
        verdict: Verdict,
        *lost: Document,
        kept: int = 0,
    ) -> Reconciled:
        recovered = settled = 0
        for query in lost:
            while taken := await self._losses.take_back(await self._leases.hold(lease, session), session, query):
                recovered += taken.recovered
                settled += taken.settled
        return Reconciled(there, verdict, recovered=recovered, settled=settled, kept=kept)

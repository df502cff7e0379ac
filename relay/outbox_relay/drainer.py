"""Drain one partition: fetch, publish, mark."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import traces
from outbox.database import Document
from outbox.errors import LookAgain, UndeclaredStream
from outbox.message.document import Message, Sent
from outbox.protocol.checkpoint import Batch, Checkpoints, Fenced, Full, Gap, Published, Stand
from outbox.protocol.fences import TokenTooLow
from outbox.protocol.leases import Lease, LeaseLost, Leases, Progress
from outbox.protocol.store import Store
from outbox.protocol.tags import new_tag
from outbox.streams.entry_ids import EntryId, Range
from outbox_relay.ahead import Ahead
from outbox_relay.drained import Drained, Outcome
from outbox_relay.marks import Marks, Window
from outbox_relay.recovery import Reconciled, Recovery
from outbox_relay.settings import RelaySettings
from outbox_relay.tail import Inbox

log = structlog.get_logger(__name__)


class Drainer:
    """Drains the partition of one lease.

    Built for crashes only: whatever goes wrong, and wherever, the next pass takes a new token, opens the checkpoint and
    reconciles, just as another relay would after a crash. So there is one way back to order, and it is used every day.
    """

    def __init__(
        self,
        lease: Lease,
        trusted: Callable[[], bool],
        client: AsyncMongoClient[Document],
        store: Store,
        checkpoints: Checkpoints,
        leases: Leases,
        recovery: Recovery,
        settings: RelaySettings,
        inbox: Inbox | None = None,
        marks: Marks | None = None,
        know_pauses: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`know_pauses` is awaited before anything is published: then it is known which streams are paused."""
        self.lease = lease
        self._trusted = trusted
        self._client = client
        self._store = store
        self._checkpoints = checkpoints
        self._leases = leases
        self._recovery = recovery
        self._settings = settings
        self._inbox = inbox or Inbox()
        self._marks = marks or Marks(client, leases, store)
        self._know_pauses = know_pauses
        self._window: Window | None = None
        self._batch_size = checkpoints.batch_size(lease.partition, settings.relay_batch_size)
        self._full_at: float | None = None
        self._session: AsyncClientSession | None = None
        self._progress: Progress | None = None
        self._above = 0
        self._verified = 0.0
        self._at_work = False
        self._ahead = Ahead(self._batch_size, settings.relay_batch_bytes)
        self._more = False
        self._blocked = False

    async def run_once(self) -> Drained:
        """One batch, at most. Raises what the servers raise; the next pass then starts by reconciling."""
        self._at_work = True
        try:
            return await self._pass()
        except (LeaseLost, UndeclaredStream):  # or the stream has been removed from the registry
            await self.close()
            return Drained(Outcome.LEASE_LOST)
        except TokenTooLow as error:
            self._above = error.above
            log.warning("lease token raised", partition=str(self.lease.partition), reason=str(error))
            return await self._refused()
        except LookAgain as error:
            log.info("partition reopened", partition=str(self.lease.partition), reason=str(error))
            return await self._refused()
        except BaseException:
            await self.close()
            raise
        finally:
            self._at_work = False

    @property
    def stand(self) -> Stand | None:
        """What the checkpoint is as long as Redis keeps its data. None: not known, or a pass is changing it."""
        return None if self._at_work or self._progress is None else Stand(self.lease.token, self._progress.tag)

    def verified(self) -> None:
        """Somebody else has just seen the checkpoint to be as it should be."""
        self._verified = time.monotonic()

    def doubt(self) -> None:
        """It seems not to be as it should be: the next pass looks at it first."""
        self._verified = -math.inf

    async def close(self) -> None:
        """Forget what is known of the partition."""
        self._progress = self._window = None
        self._ahead.clear()
        self._inbox.doubt()
        session, self._session = self._session, None
        if session:
            await session.end_session()

    async def finish(self) -> None:
        """Mark all that is published, if the servers let us: after the last pass, so that the next owner has nothing to
        mark; and before a recovery, which asks only of marked messages whether they are still wanted."""
        if self._window:
            with suppress(Exception):
                await self._marks.now(self._window)

    async def _pass(self) -> Drained:
        started = time.perf_counter()
        if not self._trusted():
            raise LeaseLost(f"{self.lease.partition}: the lease could not be renewed in time")
        reconciled = None
        if self._window and self._window.error:
            raise self._window.error
        if self._progress is None or self._session is None:
            reconciled = await self._reconcile()
        elif time.monotonic() - self._verified >= self._settings.relay_verify_seconds:
            if not await self._still_there(self._progress):
                return await self._refused()
            self._verified = time.monotonic()
        assert self._session
        assert self._progress
        assert self._window
        held_back = self._held_back()
        if self._know_pauses and (self._ahead or self._inbox.waiting or not self._inbox.joined):
            await self._know_pauses()
        if self._paused():
            await self._leave_off(self._window)
            self._full_at = None
            return Drained(Outcome.PAUSED, held_back=held_back, reconciled=reconciled)
        if self._full_at and not await self._checkpoints.has_room(self.lease.partition, self._batch_size):
            return Drained(Outcome.FULL, held_back=held_back, reconciled=reconciled)
        self._full_at = None
        buried, looked = 0, False
        if not self._ahead and not self._shown():
            looked = True
            await self._marks.now(self._window)  # or what is not marked would be fetched again
            buried = await self._fetch(self._session)
            if self._blocked:
                return Drained(Outcome.BLOCKED, buried=buried, held_back=held_back, reconciled=reconciled)
        latency = None
        if batch := self._ahead.take():
            answer = await self._publish(batch, self._progress, self._window)
            if isinstance(answer, Full):
                await self._leave_off(self._window)
                self._full_at = time.monotonic()
                return Drained(Outcome.FULL, buried=buried, held_back=held_back, reconciled=reconciled)
            if not isinstance(answer, Published):
                return await self._refused()
            latency = _latency(batch, answer)
        return Drained(
            self._outcome(looked),
            len(batch),
            buried,
            time.perf_counter() - started,
            held_back,
            reconciled,
            self._more,
            latency,
        )

    async def _leave_off(self, window: Window) -> None:
        """For long, perhaps: what is published is marked, and what is pending is fetched again."""
        self._ahead.clear()
        self._inbox.doubt()
        await self._marks.now(window)

    def _shown(self) -> bool:
        """Whether nothing has to be fetched; what the change stream has shown, then, is the next batch."""
        if not self._inbox.joined:
            return False
        if self._leases.streams[self.lease.partition.stream].earlier_partitions:
            self._inbox.doubt()  # a message may have to wait for one in another partition
            return False
        self._ahead.add(self._inbox.take(self._batch_size, self._settings.relay_batch_bytes))
        return True

    def _outcome(self, looked: bool) -> Outcome:
        if self._ahead or self._more:
            return Outcome.MORE
        if self._inbox.waiting:
            return Outcome.SHOWN
        return Outcome.EMPTY if looked or self._inbox.joined else Outcome.MORE

    async def _reconcile(self) -> Reconciled:
        # One causal session for all reads under the lease: each sees at least what was written under it before.
        self._session = self._client.start_session(causal_consistency=True)
        # A token of its own, also for an owner that goes on: what it gave up under the old one may still be on its way.
        self.lease = await self._leases.begin_anew(self.lease, self._session, above=self._above)
        reconciled = await self._recovery.reconcile(self.lease, self._session)
        self._progress, self._verified = reconciled.progress, time.monotonic()
        self._window = Window(self.lease, self._session, reconciled.progress)
        return reconciled

    async def _fetch(self, session: AsyncClientSession) -> int:
        """Fetch what is pending; returns how many were made dead, as they cannot be sent."""
        stream = self._leases.streams[self.lease.partition.stream]
        if self._inbox.since:
            session.advance_operation_time(self._inbox.since)
        fetched = await self._store.fetch(
            self.lease.partition, session, limit=self._ahead.wanted, max_bytes=self._ahead.max_bytes,
            beside=stream.numbers if stream.earlier_partitions else (),
        )  # fmt: skip
        joins = self._inbox.since is not None and not (fetched.more or fetched.waits)
        if fetched.messages or joins:
            # By MongoDB's word, not by a clock's: who slept, and was superseded, may have fetched the later one of two
            # messages while the next owner has the earlier one in flight.
            await self._leases.check(self.lease, session)
        buried = await self._store.bury(fetched.poison)
        if buried:
            reasons = sorted({poison.reason[:200] for poison in fetched.poison})[:3]
            log.error("messages marked dead", partition=str(self.lease.partition), reasons=reasons)
        self._ahead.add(fetched.messages)
        self._more, self._blocked = fetched.more or fetched.waits, fetched.waits and not fetched.messages
        if joins:
            self._inbox.join(fetched.at)
        return buried

    async def _publish(
        self, batch: Sequence[Message], progress: Progress, window: Window
    ) -> Published | Fenced | Gap | Full:
        """Publish the next batch, then mark it. In this order: a message marked first could be lost by a crash."""
        began = time.time_ns()
        reached = Progress(progress.batch + 1, new_tag())
        if not self._trusted():
            raise LeaseLost(f"{self.lease.partition}: the lease ran out while fetching")
        answer = await self._checkpoints.publish(
            self.lease.partition,
            self.lease.token,
            reached,
            batch,
            after=progress.tag,
            unmarked=window.batches,
            room=self._batch_size,
        )
        if isinstance(answer, Published):
            sent = tuple(Sent(message.id, message.attempts + 1) for message in batch)
            window.batches.append(Batch(reached, progress.tag, sent, Range(answer.first, answer.last)))
            if window.full or not (self._ahead or self._inbox.joined):
                await self._marks.now(window)
            elif not self._ahead:  # otherwise with the batches that are left of this fetch
                self._marks.later(window)
            self._progress, self._verified = reached, time.monotonic()
            traces.published(self.lease.partition.stream, batch, began)
        return answer

    def _paused(self) -> bool:
        streams = self._leases.streams
        return streams.pauses.of(streams[self.lease.partition.stream]) is not None

    def _held_back(self) -> float:
        """Seconds since the stream was last found to be full; 0 when it was not."""
        if self._full_at is None:
            return 0.0
        before, self._full_at = self._full_at, time.monotonic()
        return self._full_at - before

    async def _still_there(self, progress: Progress) -> bool:
        opened = await self._checkpoints.look(self.lease.partition, self.lease.token)
        return not isinstance(opened, Fenced) and opened.at == progress and not opened.other

    async def _refused(self) -> Drained:
        await self.finish()
        await self.close()
        return Drained(Outcome.REFUSED)


def _latency(messages: Sequence[Message], published: Published) -> float | None:
    since = min((message.since for message in messages if message.since and not message.attempts), default=None)
    if since is None or published.repeated:
        return None
    return max(0.0, EntryId.parse(published.first).milliseconds / 1000 - since.timestamp())

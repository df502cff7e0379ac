"""Marks: what was published is marked in MongoDB, now or together with what other partitions have published.

A lease and a mark for each batch would be most of the work where there is little in one. So the batches of one fetch
are marked before the next fetch, up to so many messages; they are several where messages are large. What the change
stream shows is marked a moment later, all partitions together. Until then the checkpoint names it, so that nothing is
published twice after a crash.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import Document
from outbox.message.document import Sent
from outbox.protocol.checkpoint import Batch
from outbox.protocol.fences import shared
from outbox.protocol.leases import Held, Lease, Leases, Progress, Step
from outbox.protocol.store import Mark, Store
from outbox.streams.declaration import Partition

SECONDS = 0.1
"""How long a batch waits for others to be marked with."""

TOGETHER_SECONDS = 2.0
"""How long a mark of several partitions may take. One message that a transaction of others has locked holds up all of
them until then; after that each goes on by itself, under a token of its own, as nobody knows what came of the mark."""

A_SECOND = 10_000
"""Messages that any MongoDB marks in a second."""

MOST_BATCHES, MOST_MESSAGES = 32, 500
"""What may be unmarked of one partition. The checkpoint names it with each batch."""


@dataclass(eq=False)
class Window:
    """The batches of one partition that are published and not known to be marked.

    `at`: where its lease stands. `error`: why a mark failed; then all that is known of the partition is in doubt.
    """

    lease: Lease
    session: AsyncClientSession
    at: Progress
    batches: list[Batch] = field(default_factory=list)
    error: Exception | None = None
    marking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def full(self) -> bool:
        return len(self.batches) >= MOST_BATCHES or sum(len(batch.sent) for batch in self.batches) >= MOST_MESSAGES


class Marks:
    """The marks of one relay."""

    def __init__(
        self,
        client: AsyncMongoClient[Document],
        leases: Leases,
        store: Store,
        wake: Callable[[Collection[Partition]], None] = lambda _: None,
    ) -> None:
        """`wake` is called with the partitions of which a mark has failed."""
        self._client = client
        self._leases = leases
        self._store = store
        self._wake = wake
        self._waiting: set[Window] = set()
        self._task: asyncio.Task[None] | None = None

    async def now(self, window: Window) -> None:
        """Mark all that is unmarked.

        Raises what the servers raise, LeaseLost and LookAgain; also what a mark before has raised.
        """
        async with window.marking:
            if window.error:
                raise window.error
            if group := tuple(window.batches):
                try:
                    await self._mark(window, group, window.session)
                except Exception as error:
                    window.error = error
                    raise
                _done(window, group)

    def later(self, window: Window) -> None:
        """Mark it soon, with others."""
        self._waiting.add(window)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._together(), name="marks")

    async def _together(self) -> None:
        while self._waiting:
            await asyncio.sleep(SECONDS)
            # Not one that its drainer is marking: that marks all there is, and may have to wait for long.
            windows = {window for window in self._waiting if not window.marking.locked()}
            self._waiting = set()
            for window in windows:
                await window.marking.acquire()
            try:
                await self._round([window for window in windows if window.batches and not window.error])
            finally:
                for window in windows:
                    window.marking.release()
            if failed := [window.lease.partition for window in windows if window.error]:
                self._wake(failed)

    async def _round(self, windows: Sequence[Window]) -> None:
        groups = {window: tuple(window.batches) for window in windows}
        if not groups:
            return
        async with self._client.start_session(causal_consistency=True) as session:
            try:
                together = await self._mark_all(groups, session)
            except Exception as error:  # noqa: BLE001  # the drainers find out what it means
                for window in windows:
                    window.error = error
                return
            for window, group in groups.items():
                try:
                    if not together:
                        with shared(2 * TOGETHER_SECONDS):
                            await self._mark(window, group, session)
                    _done(window, group)
                    _as_new_as(window.session, session)
                except Exception as error:  # noqa: BLE001  # likewise
                    window.error = error

    async def _mark_all(self, groups: dict[Window, tuple[Batch, ...]], session: AsyncClientSession) -> bool:
        steps = [Step(w.lease, w.at, group[-1].at, [sent.id for sent in _sent(group)]) for w, group in groups.items()]
        began = time.monotonic()
        if not await self._leases.advance(steps, session):
            return False
        marks = [mark for w, group in groups.items() for mark in _each(Held(w.lease, group[-1].at), group)]
        # Leases are locked by nobody else: that their write took long, or that there are many messages, is no lock.
        slow = 4 * (time.monotonic() - began) + sum(len(mark.sent) for mark in marks) / A_SECOND
        with shared(TOGETHER_SECONDS + slow):
            return await self._store.mark_all(marks, session)

    async def _mark(self, window: Window, group: Sequence[Batch], session: AsyncClientSession) -> None:
        # The lease first: so no message ever carries a batch above its lease's, and one comparison shows a loss.
        sent = _sent(group)
        held = await self._leases.hold(
            window.lease, session, group[-1].at, after=window.at, intent=[message.id for message in sent]
        )
        marks = _each(held, group)
        if len(marks) == 1 or not await self._store.mark_all(marks, session):
            for mark in marks:
                await self._store.mark(mark.held, session, mark.sent, mark.entries)


def _sent(group: Sequence[Batch]) -> list[Sent]:
    return [sent for batch in group for sent in batch.sent]


def _each(held: Held, group: Sequence[Batch]) -> list[Mark]:
    # Number and tag are those of the last batch; the entries each batch's own, without gaps, so that it can be counted
    # how many of them were removed before the group came to them. Between two batches stand entries of others.
    return [Mark(held, batch.sent, batch.entries) for batch in group]


def _done(window: Window, group: Sequence[Batch]) -> None:
    window.at = group[-1].at
    del window.batches[: len(group)]


def _as_new_as(session: AsyncClientSession, other: AsyncClientSession) -> None:
    """Its reads see at least what those of `other` would."""
    if other.cluster_time and other.operation_time:
        session.advance_cluster_time(other.cluster_time)
        session.advance_operation_time(other.operation_time)

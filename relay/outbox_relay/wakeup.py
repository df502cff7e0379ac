"""Wake-up: change streams that show what to look at, and a sweep that misses nothing.

They only save waiting and looking. Change streams are opened at the present and never resumed: whatever happened while
there was none is found by the sweep, so that a history that is lost, or a stream that falls silent, costs time and
nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from bson import Timestamp

from outbox.protocol.store import Store
from outbox.servers.outages import Trouble, classify
from outbox.servers.waiting import abandon, first
from outbox_relay.busy import Busy
from outbox_relay.service import Next

log = structlog.get_logger(__name__)

T = TypeVar("T")

REST_SECONDS = 1.0
HINTED_SECONDS, AGAIN_SECONDS = 4.0, 1.0
"""Beside a change stream: between two looks of the sweep; from finding something pending to looking if it still is.
Together: how long the stream may be silent for no reason before what it should have shown is found."""


@dataclass(frozen=True, slots=True)
class Hinted:
    """Whether the change stream works."""

    works: bool

    @property
    def next(self) -> Next:
        return Next.AGAIN if self.works else Next.WAIT


class Hints(Generic[T]):
    """Passes on what a change stream shows; opens it again after an error.

    A server's trouble is not raised: the relay does all its work without hints, only later, and should not be called
    unready when, say, it may not open change streams.

    While the relay is `busy` the stream is closed, and a look everywhere is asked for once a second: the server would
    wake for, and look at, every message that is marked meanwhile, which takes a third of what it does for a drain.
    """

    def __init__(
        self,
        open_changes: Callable[[], AsyncIterator[T]],
        notify: Callable[[T | None], None],
        busy: Busy | None = None,
        closed: Callable[[], None] = lambda: None,
        *,
        look: bool = True,
    ) -> None:
        """`closed` is called when the stream was closed, and shows nothing until it notifies of a new one.

        :param look: whether to ask for a look everywhere meanwhile; not where somebody looks often enough anyway.
        """
        self._look = look
        self._open_changes = open_changes
        self._notify = notify
        self._busy = busy or Busy()
        self._closed = closed
        self._changes: AsyncIterator[T] | None = None
        self._logged = False

    def working(self) -> bool:
        """Whether a change stream is open, so that what happens is noticed as far as anybody knows."""
        return self._changes is not None

    async def run_once(self) -> Hinted:
        """Wait for one hint and pass it on. None stands for "anywhere"."""
        if not self._busy.over.is_set():
            if self._changes is not None:  # the backlog began between two passes
                self._close()
            await first(self._busy.over, seconds=REST_SECONDS)
            if self._look:
                self._notify(None)
            return Hinted(True)
        if self._changes is None:
            self._changes = self._open_changes()
        try:
            waiting = await self._first(self._changes)
            if not waiting.done():
                self._close()
                return Hinted(True)
            hint = waiting.result()
        except StopAsyncIteration:  # the collection was dropped or renamed: there may be another one
            self._close()
            return Hinted(False)
        except Exception as error:
            self._close()
            trouble = classify(error)
            if trouble is None:
                raise
            if trouble is Trouble.MISCONFIGURED and not self._logged:
                log.warning("no change stream, polling", error=f"{type(error).__name__}: {error}")
                self._logged = True
            return Hinted(False)
        self._logged = False
        self._notify(hint)
        return Hinted(True)

    def _close(self) -> None:
        self._changes = None
        self._closed()

    async def _first(self, changes: AsyncIterator[T]) -> asyncio.Future[T]:
        """The next hint. Not done: a backlog came before it, and `changes` is closed."""
        hint = asyncio.ensure_future(anext(changes))
        begun = asyncio.ensure_future(self._busy.begun.wait())
        try:
            await asyncio.wait({hint, begun}, return_when=asyncio.FIRST_COMPLETED)
            came = hint.done()
        finally:
            # It only reads, so that it may be cancelled; the request that the server holds back ends with it.
            abandon(begun, hint)
        if came:
            return hint
        # Not for ever: the driver may swallow the cancellation, and wait for the next change all the same.
        await asyncio.wait({hint}, timeout=REST_SECONDS)
        return asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Swept:
    """Whether any message was found to be pending."""

    pending: bool

    @property
    def next(self) -> Next:
        return Next.WAIT


class Sweep:
    """Looks whether anything is pending at all, with one cheap query for all partitions, and wakes the drainers.

    With hints seldom: then it only finds what they should have shown. As messages come and go something is always
    pending, and a look everywhere would hold all of them up; so it is asked for when a message is pending that was
    there at the look before. Without hints the sweep is all there is.
    """

    def __init__(self, store: Store, wake: Callable[[], None], hinted: Callable[[], bool] = lambda: False) -> None:
        self._store = store
        self._wake = wake
        self._hinted = hinted
        self._next = 0.0
        self._seen: Timestamp | None = None

    async def run_once(self) -> Swept:
        hinted = self._hinted()
        if hinted and time.monotonic() < self._next:
            return Swept(pending=False)
        before, self._seen = self._seen if hinted else None, None
        pending, at = await self._store.look_for_pending(before)
        first_look = hinted and pending and before is None
        self._next = time.monotonic() + (AGAIN_SECONDS if first_look else HINTED_SECONDS)
        if first_look and at is not None:
            self._seen = at
        elif pending:
            self._wake()
        return Swept(pending)

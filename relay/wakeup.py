"""Wake-up: change streams that hint at what to look at, and a sweep that misses nothing.

A hint only saves waiting. Change streams are opened at the present and never resumed: whatever happened while there was
none is found by the sweep, so that a history that is lost, or a stream that falls silent, costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from outbox.outages import Trouble, classify
from outbox.store import Store
from relay.service import Next

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hinted:
    """Whether the change stream works."""

    works: bool

    @property
    def next(self) -> Next:
        return Next.AGAIN if self.works else Next.WAIT


class Hints(Generic[T]):
    """Passes on what a change stream tells; opens it again after an error.

    A server's trouble is not raised: the relay does all its work without hints, only later, and should not be called
    unready when, say, it may not open change streams.
    """

    def __init__(self, open_changes: Callable[[], AsyncIterator[T]], tell: Callable[[T], None]) -> None:
        self._open_changes = open_changes
        self._tell = tell
        self._changes: AsyncIterator[T] | None = None
        self._told = False

    async def run_once(self) -> Hinted:
        """Wait for one hint and pass it on."""
        if self._changes is None:
            self._changes = self._open_changes()
        try:
            hint = await anext(self._changes)
        except Exception as error:
            self._changes = None
            trouble = classify(error)
            if trouble is None:
                raise
            if trouble is Trouble.MISCONFIGURED and not self._told:
                log.warning("no change stream: polling alone", error=f"{type(error).__name__}: {error}")
                self._told = True
            return Hinted(False)
        self._told = False
        self._tell(hint)
        return Hinted(True)


@dataclass(frozen=True, slots=True)
class Swept:
    """Whether any message is pending."""

    pending: bool

    @property
    def next(self) -> Next:
        return Next.WAIT


class Sweep:
    """Looks whether anything is pending at all, with one cheap query for all partitions, and wakes the drainers."""

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake

    async def run_once(self) -> Swept:
        pending = await self._store.any_pending()
        if pending:
            self._wake()
        return Swept(pending)

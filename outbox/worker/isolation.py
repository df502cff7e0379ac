"""Isolation: what may have killed its worker is handled alone in its process, so that it takes nobody with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outbox.servers.waiting import first
from outbox.worker.hand import Hand


class Isolation:
    """Whose turn it is in one process: many that are above suspicion, or one suspect."""

    def __init__(self, slots: int) -> None:
        """:param slots: how many handlers may be at work."""
        self._slots = asyncio.Semaphore(slots)
        self.resting = 0
        """How many suspects wait for other transactions."""
        self.free = asyncio.Event()
        """Set when there may be room for others."""
        self._at_work = 0
        self._suspects = 0
        self._waiting = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def turn(self, hand: Hand) -> AsyncIterator[None]:
        """Wait for the turn of `hand`: a suspect's comes when nobody else is at work, and nobody begins before it ends.

        One that is abandoned does not wait, and must not call its handler.
        """
        suspect = hand.suspect is not None
        try:
            await self._begin(hand, suspect)
            yield
        finally:
            self._end(suspect)

    async def take_slot(self, hand: Hand, seconds: float | None = None) -> bool:
        """Take one of the slots, of which a hand has one while its handler is at work. False: not in that time."""
        if self._slots.locked():
            try:
                async with asyncio.timeout(seconds):
                    await self._slots.acquire()
            except TimeoutError:
                return False
        else:
            await self._slots.acquire()
        hand.has_slot = True
        return True

    def release_slot(self, hand: Hand) -> None:
        """Give it back, if `hand` has one."""
        if hand.has_slot:
            hand.has_slot = False
            self._slots.release()

    async def rest(self, hand: Hand, seconds: float) -> None:
        """Wait within a turn, with a slot. A suspect gives both away meanwhile, and waits for them again after that.

        It may wait for minutes for another's transaction, and all other messages would wait with it.
        """
        if hand.suspect is None:
            await asyncio.sleep(seconds)
            return
        self.release_slot(hand)
        self._end(suspect=True)
        hand.rests = True
        self.resting += 1
        self.free.set()
        try:
            await first(hand.abandoned, seconds=seconds)
        except BaseException:
            # Who is cancelled waits for nobody: its turn is over, and only to be counted as such.
            self._at_work += 1
            self._suspects += 1
            raise
        finally:
            self.resting -= 1
            hand.rests = False
        await self._begin(hand, suspect=True)
        if not hand.abandoned.is_set():  # or it would wait for handlers that may take long
            await self.take_slot(hand)

    async def _begin(self, hand: Hand, suspect: bool) -> None:
        self._suspects += suspect
        try:
            while self._at_work if suspect else self._suspects:
                self._waiting += 1
                try:
                    await first(self._changed, hand.abandoned, seconds=None)
                finally:
                    self._waiting -= 1
                if hand.abandoned.is_set():
                    break
        finally:
            self._at_work += 1

    def _end(self, suspect: bool) -> None:
        self._at_work -= 1
        self._suspects -= suspect
        if self._waiting:
            self._changed.set()
            self._changed = asyncio.Event()

"""A hand: one message that is worked on, until its handler ends, its time is up, or it is abandoned."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any

import structlog

from outbox.errors import OutboxError
from outbox.message.document import Sent
from outbox.worker.failures import Failed

log = structlog.get_logger(__name__)

LONG_SECONDS = 300.0
"""After which the log names a handler that is still at work; again after twice as long, and so on."""
GRACE_SECONDS = 5.0
"""How long a handler that was cancelled has for its cleaning up, before it is left to itself."""


class Abandoned(Exception):
    """The entry is this consumer's no longer, or the consumer stops: nothing of this attempt may last."""


class TimeUp(OutboxError):
    """A handler was still at work after the time that its stream or its worker allows."""


class Hand:
    """A message in hand. `abandon` may be called at any time, and once more changes nothing.

    :param limit_seconds: for one call of the handler; 0 is no limit.
    """

    def __init__(self, limit_seconds: float = 0.0, suspect: str | None = None, sent: Sent | None = None) -> None:
        self.limit_seconds = limit_seconds
        self.began = time.monotonic()
        self.sent = sent
        """The message, if the entry speaks of one already."""
        self.suspect = suspect
        """The worker that died while the message was in flight, if one did: then its handler is called alone."""
        self.has_slot = False
        self.rests = False
        """Whether a suspect waits for another's transaction, and lets others be handled meanwhile."""
        self.taker = secrets.token_hex(8)
        self.handler = ""
        """The name of its handler, when that is known."""
        self.on_record = False
        """Whether this take-over has been counted as a try."""
        self.handled = False
        """Whether its handler has done its work, in no transaction of ours: only its completion is to be repeated."""
        self.in_doubt = False
        """Whether MongoDB was away while its handler's work was committed, so that it may have its outcome."""
        self.settled = False
        """Whether its message has its outcome, so that the entry only waits to be acknowledged."""
        self.abandoned = asyncio.Event()
        self._changed: asyncio.Future[None] | None = None
        self.part_of: Hand | None = None
        """The batch that it is worked on in. Of that, nothing may last when it is abandoned."""
        self.thread_session: Mapping[str, Any] | None = None
        self.about: dict[str, Any] = {}
        """What the log says of it: the message, the entry."""

    @property
    def told(self) -> Any:
        """A logger that names the message."""
        return log.bind(**self.about)

    def abandon(self) -> None:
        self.abandoned.set()
        self._wake()
        if self.part_of:
            self.part_of.abandon()

    async def run(self, work: asyncio.Future[Any]) -> None:
        """Wait for the handler.

        :raises Abandoned, Failed, CancelledError: it was abandoned, or its time is up, or who waits is cancelled. An
            async one has been cancelled, and may go on in spite of it; a thread goes on.
        """
        try:
            await self._watch(work)
        except asyncio.CancelledError:
            await self._end(work)
            raise
        if not work.done():
            time_up = not self.abandoned.is_set()
            await self._end(work)
            if time_up:
                raise Failed(self._time_up())
            raise Abandoned
        if work.cancelled():
            raise Failed(asyncio.CancelledError("the handler cancelled itself"))
        if error := work.exception():
            raise error

    async def _end(self, work: asyncio.Future[Any]) -> None:
        """Cancel an async handler, and wait for its cleaning up."""
        self.abandon()  # what goes on in a thread must not complete the message
        work.cancel()
        if isinstance(work, asyncio.Task):
            await asyncio.wait({work}, timeout=GRACE_SECONDS)

    async def _watch(self, work: asyncio.Future[Any]) -> None:
        """Return when the handler has ended, was abandoned or has used up its time. Name it in the log meanwhile."""
        began = time.monotonic()
        limit = self.limit_seconds or float("inf")
        mark = min(LONG_SECONDS, limit / 2)
        loop = asyncio.get_running_loop()
        work.add_done_callback(self._wake)
        while not work.done() and not self.abandoned.is_set():
            at_work = time.monotonic() - began
            if at_work >= limit:
                return
            if at_work >= mark:
                mark *= 2
                self.told.warning("handler still at work", seconds=round(at_work), limit=self.limit_seconds or None)
            self._changed = loop.create_future()
            timer = loop.call_later(min(mark, limit) - at_work, self._wake)
            try:
                await self._changed
            finally:
                timer.cancel()

    def _wake(self, _: object = None) -> None:
        if self._changed and not self._changed.done():
            self._changed.set_result(None)

    def _time_up(self) -> TimeUp:
        return TimeUp(
            f"the handler was still at work after {self.limit_seconds:g} s: raise handler_seconds of its stream in "
            "OUTBOX_STREAMS (or `outbox worker --handler-seconds`, or the seconds of its handler) if it needs longer, "
            "0 for no limit"
        )

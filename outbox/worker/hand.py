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
        self.taker = secrets.token_hex(8)
        self.on_record = False
        """Whether this take-over has been counted as a try."""
        self.abandoned = asyncio.Event()
        self.thread_session: Mapping[str, Any] | None = None
        self.told: Any = log
        """A logger that names the message."""

    def abandon(self) -> None:
        self.abandoned.set()

    async def run(self, work: asyncio.Future[Any]) -> None:
        """Wait for the handler.

        :raises Abandoned, Failed: it was abandoned, or its time is up. An async one has been cancelled, and may go on
            in spite of it; a thread goes on.
        """
        abandoned = asyncio.ensure_future(self.abandoned.wait())
        try:
            await self._watch(work, abandoned)
            if not work.done():
                time_up = not self.abandoned.is_set()
                self.abandon()  # what goes on in a thread must not complete the message
                work.cancel()
                if isinstance(work, asyncio.Task):
                    await asyncio.wait({work}, timeout=GRACE_SECONDS)
                if time_up:
                    raise Failed(self._time_up())
                raise Abandoned
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            abandoned.cancel()
        if work.cancelled():
            raise Failed(asyncio.CancelledError("the handler cancelled itself"))
        if error := work.exception():
            raise error

    async def _watch(self, work: asyncio.Future[Any], abandoned: asyncio.Future[Any]) -> None:
        """Return when the handler has ended, was abandoned or has used up its time. Name it in the log meanwhile."""
        began = time.monotonic()
        limit = self.limit_seconds or float("inf")
        mark = min(LONG_SECONDS, limit / 2)
        while True:
            seconds = min(mark, limit) - (time.monotonic() - began)
            await asyncio.wait(
                {work, abandoned}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED
            )  # fmt: skip
            at_work = time.monotonic() - began
            if work.done() or abandoned.done() or at_work >= limit:
                return
            if at_work >= mark:
                mark *= 2
                self.told.warning("handler still at work", seconds=round(at_work), limit=self.limit_seconds or None)

    def _time_up(self) -> TimeUp:
        return TimeUp(
            f"the handler was still at work after {self.limit_seconds:g} s: raise handler_seconds of its stream in "
            "OUTBOX_STREAMS (or `outbox worker --handler-seconds`) if it needs longer, 0 for no limit"
        )

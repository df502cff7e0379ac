"""Tries: each call of a handler that has ended, for whoever counts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import structlog

from outbox.worker.completion import Superseded
from outbox.worker.failures import Failed, Snooze
from outbox.worker.hand import Abandoned, Hand

log = structlog.get_logger(__name__)


class Ended(StrEnum):
    """How a try ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    """The handler raised, or was at work for longer than it may be."""
    SNOOZED = "snoozed"
    """The handler raised Snooze, or there is none for the message: nothing has failed."""
    SUPERSEDED = "superseded"
    """The message has an outcome, was given back, or is another worker's by now: nothing of this try lasts."""
    INTERRUPTED = "interrupted"
    """MongoDB was away, or the worker has ended: the message is tried again."""


Count = Callable[[str, str, Ended, float], None]
"""Is called with the stream, the handler, how the try ended, and how many seconds it took. What it raises is logged
once, and changes nothing: its message may have failed, or be completed."""


def harmless(count: Count) -> Count:
    """`count`, whose first error is logged, and none raised."""
    failed = False

    def call(stream: str, handler: str, ended: Ended, seconds: float) -> None:
        nonlocal failed
        try:
            count(stream, handler, ended, seconds)
        except Exception:
            if not failed:
                log.exception("count failed, messages go on without it, not logged again")
            failed = True

    return call


@contextmanager
def counted(count: Count | None, stream: str, hand: Hand) -> Iterator[None]:
    """Count what is tried within."""
    if count is None:
        yield
        return
    began, ended = time.perf_counter(), Ended.INTERRUPTED
    try:
        yield
        ended = Ended.COMPLETED
    except Failed as failed:
        ended = Ended.SNOOZED if isinstance(failed.error, Snooze) else Ended.FAILED
        raise
    except (Abandoned, Superseded):
        ended = Ended.SUPERSEDED
        raise
    finally:
        count(stream, hand.handler, ended, time.perf_counter() - began)

"""Waiting for whichever comes first: one of several events, or the end of a time; and no longer for the rest, nor at
all once cancelled.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


async def first(*events: asyncio.Event, seconds: float | None) -> None:
    """Return when one of `events` is set or `seconds` have passed; None is as long as it takes."""
    if any(event.is_set() for event in events):
        return
    if len(events) == 1:
        # Without a task, so that who waits goes on in the event loop's next turn: it is what wakes a drainer.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await events[0].wait()
        return
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def stop_if_cancelled() -> None:
    """Raise CancelledError if the running task was cancelled and goes on all the same.

    For each round of a loop that changes much: on Python 3.11, `asyncio.wait_for`, by which the driver reads, returns
    what has just come, and the cancellation is lost.
    """
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def abandon(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what nobody waits for any more, if it is not done. Nobody wants its errors either: asyncio would log them
    with their tracebacks, as exceptions that were never retrieved.
    """
    for task in tasks:
        task.cancel()
        task.add_done_callback(_look_at)


def _look_at(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()

"""Waiting for whichever comes first: one of several events, or the end of a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress


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

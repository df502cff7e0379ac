"""Timed jobs, on APScheduler: what relay and API do every few seconds or minutes.

Every process runs all of its jobs. Each is one statement, or pages of statements, that changes nothing when repeated,
so that nobody has to be elected for it.

APScheduler plans by the wall clock, which may step, and waits by the monotonic one, which does not. After a step all
plans are moved along with the clock. Otherwise nothing would be done for as long as it was set back; and after a step
forward, or a long sleep of the host, every turn that was missed would be counted, in the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from outbox.servers.outages import classify

log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[int]]

STEP_SECONDS = 1.0
"""By how much the two clocks must have come apart since the last turn: they run a little differently all the time."""


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler has no types
    """Looks for a step of the clock whenever its timer wakes it, before it looks what is due."""

    _apart: float | None = None

    def wakeup(self) -> None:
        self._follow_the_clock()
        super().wakeup()

    def _follow_the_clock(self) -> None:
        before, self._apart = self._apart, time.time() - time.monotonic()
        if before is not None and abs(step := self._apart - before) > STEP_SECONDS:
            for job in self.get_jobs():  # which wakes it once more, as each change of a job does
                job.modify(next_run_time=job.next_run_time.astimezone(UTC) + timedelta(seconds=step))


class Jobs:
    """The scheduler. A server's trouble makes a job wait for its next turn; any other error is given to `fail`."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        # Missed turns are made up for by one, and a turn never overtakes the one before.
        self._scheduler = _Scheduler(job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None})
        self._fail = fail

    def add(self, name: str, job: Job, *, seconds: float) -> None:
        trigger = IntervalTrigger(
            seconds=max(1, round(seconds)), jitter=max(1, int(seconds * 0.1)) if seconds > 5 else None
        )
        self._scheduler.add_job(self._run, trigger, args=[name, job], id=name)

    async def _run(self, name: str, job: Job) -> None:
        try:
            count = await job()
        except asyncio.CancelledError:
            return  # the process stops; the scheduler would log it with a traceback
        except Exception as error:  # noqa: BLE001  # every one is given to somebody
            if classify(error) is None:
                self._fail(error)
            else:
                # Others meet the same trouble, and log it.
                log.debug("timed job postponed", job=name, error=f"{type(error).__name__}: {error}")
            return
        if count:
            log.info("timed job done", job=name, count=count)

    def start(self) -> None:
        # While a server is away, it would say every second that the turn before has not ended.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler.start()

    def stop(self) -> None:
        """No further turns; one that is under way is finished by the event loop or not at all."""
        self._scheduler.shutdown(wait=False)

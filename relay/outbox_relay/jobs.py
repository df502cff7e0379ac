"""Timed jobs: stage what is due, prune what is old, remove abandoned uploads.

Every relay runs all of them. Each is one statement, or pages of statements, that changes nothing when repeated, so that
nobody has to be elected for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from outbox.message.schema import Database
from outbox.operations import upkeep
from outbox.servers.outages import classify
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Streams
from outbox_api.uploads import records as files
from outbox_relay.settings import RelaySettings
from outbox_relay.silence import Silence

log = structlog.get_logger(__name__)

SILENT_SECONDS = 300.0
"""How long an upload must have been seen without a new sign of life before it is removed."""

Job = Callable[[], Awaitable[int]]


class Jobs:
    """The scheduler. A server's trouble makes a job wait for its next turn; any other error is given to `fail`."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        # Missed turns are made up for by one, and a turn never overtakes the one before.
        self._scheduler = AsyncIOScheduler(
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
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
            return  # the relay stops; the scheduler would log it with a traceback
        except Exception as error:  # noqa: BLE001  # every one is given to somebody
            if classify(error) is None:
                self._fail(error)
            else:
                # The leaser meets the same trouble, and logs it.
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


def add_all(
    jobs: Jobs, database: Database, streams: Streams, outbox_settings: OutboxSettings, settings: RelaySettings
) -> None:
    retention = timedelta(days=outbox_settings.outbox_retention_days)
    abandoned = timedelta(seconds=settings.relay_abandoned_seconds)
    jobs.add("stage due messages", lambda: upkeep.stage(database), seconds=settings.relay_stage_seconds)
    jobs.add("bury strays", lambda: upkeep.bury_strays(database), seconds=60)
    jobs.add(
        "prune old messages",
        lambda: upkeep.prune(database, streams, older_than=retention),
        seconds=settings.relay_prune_seconds,
    )
    jobs.add("remove abandoned uploads", Uploads(database, abandoned).run_once, seconds=settings.relay_prune_seconds)


class Uploads:
    """Removes uploads that are old by the server's clock, and silent by this machine's monotonic one.

    The first alone would remove those that are under way when the server's clock is set forward.
    """

    def __init__(self, database: Database, abandoned: timedelta) -> None:
        self._database = database
        self._abandoned = abandoned
        # Several times as long as the API waits between two signs of life, and no longer than is waited anyway.
        self._silence = Silence[object, object](min(SILENT_SECONDS, abandoned.total_seconds()))

    async def run_once(self) -> int:
        silent = self._silence.listen(await files.signs_of_life(self._database))
        return await files.remove_abandoned(self._database, older_than=self._abandoned, silent=silent)

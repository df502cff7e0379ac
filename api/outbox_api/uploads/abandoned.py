"""Uploads that were begun and never finished, as when an API process dies: they are removed after a while.

Every API process sees to it. Only what the API itself has begun is removed; see `records.BEGUN_HERE`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from outbox.database import Database
from outbox.servers.silence import Silence
from outbox.servers.timed_jobs import Jobs
from outbox_api.settings import ApiSettings
from outbox_api.uploads import records

log = structlog.get_logger(__name__)

LOOK_SECONDS = 600.0


class Uploads:
    """Removes uploads that are old by the server's clock, and silent by this machine's monotonic one.

    The first alone would remove those that are under way when the server's clock is set forward.
    """

    def __init__(self, database: Database, settings: ApiSettings) -> None:
        self._database = database
        self._abandoned = timedelta(seconds=settings.api_abandoned_seconds)
        self._silence = Silence[object, object](settings.silent_seconds)

    async def run_once(self) -> int:
        silent = self._silence.listen(await records.signs_of_life(self._database))
        return await records.remove_abandoned(self._database, older_than=self._abandoned, silent=silent)


@asynccontextmanager
async def removed(database: Database, settings: ApiSettings) -> AsyncIterator[None]:
    """While it is open, uploads that have been silent for `api_abandoned_seconds` are removed."""

    def failed(error: BaseException) -> None:
        log.error("timed job failed", exc_info=error)

    jobs = Jobs(failed)
    uploads = Uploads(database, settings)
    often = min(LOOK_SECONDS, settings.api_abandoned_seconds / 4)
    jobs.add("remove abandoned uploads", uploads.run_once, seconds=often)
    jobs.start()
    try:
        yield
    finally:
        jobs.stop()

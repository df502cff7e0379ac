"""The last 24 hours, read now and then for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import pymongo
from pymongo.errors import PyMongoError

from outbox.database import Database
from outbox.operations import history, stats
from outbox.operations.day import Day, summarise
from outbox.operations.downtime import Downtime
from outbox.operations.history import Minute
from outbox.operations.recoveries import Recovery

DAY_SECONDS, OPENED_SECONDS = 60.0, 5.0
"""How old they may be while somebody watches; and for who opens the page."""


class Lately:
    """What is known of the last 24 hours."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._minutes: list[Minute] = []
        self._read = float("-inf")
        self.day = Day()

    def older_than(self, seconds: float) -> bool:
        return time.monotonic() - self._read > seconds

    async def look(
        self,
        outages: Sequence[Downtime],
        recoveries: Sequence[Recovery],
        now: datetime,
        *,
        seconds: float,
        answers: bool,
    ) -> Day | None:
        """The day, if what was known is older than `seconds`, or an outage has begun or ended; otherwise None.

        :param answers: whether MongoDB does. Otherwise the minutes that were read before are shown.
        """
        current = [outage for outage in outages if outage.until is None]
        changed = current != [outage for outage in self.day.outages if outage.until is None]
        if not (changed or self.older_than(seconds)):
            return None
        if answers:
            with suppress(PyMongoError), pymongo.timeout(stats.MONGO_SECONDS):
                self._minutes = await history.read(self._database)
        self._read = time.monotonic()
        self.day = summarise(self._minutes, outages, recoveries, now)
        return self.day

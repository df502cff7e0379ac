"""Backlog: how much waits in MongoDB, for metrics and their alerts."""

from __future__ import annotations

from dataclasses import dataclass

from outbox import stats
from outbox.schema import Database
from outbox.stats import Waiting
from relay.service import Next

LOOK_SECONDS = 15.0
"""Metrics are seldom fetched more often."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What waits now, in all partitions: every relay measures the same."""

    waiting: Waiting

    @property
    def next(self) -> Next:
        return Next.WAIT


class Backlog:
    """Counts what waits, now and then. It reads indexes only, each up to a limit, however much there is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> Measured:
        return Measured(await stats.waiting(self._database))

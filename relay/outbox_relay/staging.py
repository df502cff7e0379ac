"""Staging: scheduled messages become pending when their time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from outbox.database import Database
from outbox.operations import upkeep
from outbox.servers.waiting import first
from outbox_relay.service import Next
from outbox_relay.wakeup import HINTED_SECONDS

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Staged:
    """How many messages became pending."""

    count: int

    @property
    def next(self) -> Next:
        return Next.WAIT


class Staging:
    """Looks what is due first, and rests until shortly before that.

    Only as long as a change stream shows what is scheduled meanwhile, and for some seconds at most, as hints may be
    missing and clocks may step.
    """

    def __init__(self, database: Database, hinted: Callable[[], bool], *, seconds: float) -> None:
        """`seconds`: how often `run_once` is called."""
        self._database = database
        self._hinted = hinted
        self._seconds = seconds
        self._rest = 0.0
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """Something else may be due first."""
        self._changed.set()

    async def run_once(self) -> Staged:
        if self._rest > 0 and self._hinted():
            await first(self._changed, seconds=self._rest)
        self._changed.clear()
        self._rest = 0.0
        left = await upkeep.until_due(self._database)
        if left is not None and left <= 0:
            if count := await upkeep.stage(self._database):
                log.info("messages staged", count=count)
            return Staged(count)
        self._rest = HINTED_SECONDS if left is None else min(HINTED_SECONDS, left - self._seconds)
        return Staged(0)

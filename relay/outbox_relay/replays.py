"""Replays: work on the jobs that operators ask for, a page at a time and no faster than they say."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog
from pymongo.errors import PyMongoError

from outbox.database import Database
from outbox.operations import jobs
from outbox.operations.jobs import Job, Pace, Phase
from outbox_relay.service import Next, Service

log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
"""How often to look for a job that somebody asked for, unless woken: the relay learns of one with its leases."""
NAP_SECONDS = 0.5
"""The longest that a pass waits for its turn, so that `quiet` takes effect in between."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One page, or the look for something to do."""

    working: bool
    replayed: int = 0

    @property
    def next(self) -> Next:
        return Next.AGAIN if self.working else Next.WAIT


class Replays:
    """Works on one job after the other. Each relay works on one, at most, and no two relays the same."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._job: Job | None = None
        self._pace = Pace(1)

    async def run_once(self) -> Replayed:
        """Raises what MongoDB raises; the next pass then asks anew how the job stands."""
        job, self._job = self._job, None
        if job is None:
            job = await self._claim()
        elif wait := self._pace.wait():
            await asyncio.sleep(min(wait, NAP_SECONDS))
            if wait > NAP_SECONDS:
                self._job = job
                return Replayed(True)
        if job is None:
            return Replayed(False)
        try:
            after = await jobs.step(self._database, job, self._owner, limit=self._pace.page)
        except Exception as error:
            await jobs.set_aside(self._database, job, self._owner, error)
            raise
        if after is None:
            log.info("replay cancelled or taken over", job=str(job.id))
            return Replayed(True)
        replayed = after.replayed - job.replayed
        self._pace.spent(replayed)
        if after.phase is Phase.DONE:
            counts = {"selected": after.selected, "replayed": after.replayed, "left_out": after.left_out}
            log.info("replay finished", job=str(job.id), **counts)
        else:
            self._job = after
        return Replayed(True, replayed)

    async def work(self, service: Service) -> None:
        """Until `service`, which runs these passes, is told to end."""
        await service.run()
        with suppress(PyMongoError):  # then the job's lease runs out
            await self.leave()

    async def leave(self) -> None:
        """Give back the current job, so that another relay goes on with it at once."""
        self._job = None
        await jobs.release(self._database, self._owner)

    async def _claim(self) -> Job | None:
        job = await jobs.claim(self._database, self._owner)
        if job:
            self._pace = Pace(job.rate)
            log.info("replay started", job=str(job.id), who=job.who, selected=job.selected, replayed=job.replayed)
        return job

"""Working on a job in a terminal, or watching whoever does."""

from __future__ import annotations

import asyncio
import secrets

from bson import ObjectId

from outbox.cli.output import Advance, progress_bar, write_note
from outbox.database import Database
from outbox.errors import NoSuchJob
from outbox.operations import audit, jobs
from outbox.operations.jobs import Job, Pace
from outbox.servers.waiting import stop_if_cancelled

LOOK_SECONDS = 0.5


async def work_on(database: Database, job: Job) -> Job:
    """Work on a job until it is over, and show how far it is; returns how it ended.

    While another one works on it, only look. Whoever interrupts this leaves the job to the relays, and so does an
    error; a note on stderr says so.
    """
    owner = f"{audit.me()}-{secrets.token_hex(4)}"
    try:
        with progress_bar("replaying", job.selected) as advance:
            while job.open:
                stop_if_cancelled()
                claimed = await jobs.claim(database, owner, job=job.id)
                if claimed:
                    await _steps(database, claimed, owner, advance)
                else:
                    await asyncio.sleep(LOOK_SECONDS)
                job = await jobs.find(database, job.id)
                advance(job.replayed)
    except NoSuchJob:
        raise
    except (asyncio.CancelledError, KeyboardInterrupt):
        write_note(f"a relay goes on with job {job.id} in half a minute; to stop it: outbox jobs cancel {job.id}")
        raise
    except Exception:
        write_note(
            f"the replay is not lost: it is job {job.id}, and a relay goes on with it. Do not ask for it again: that "
            f"would be another replay of the same messages. See how far it is: outbox jobs show {job.id}"
        )
        raise
    return job


async def watch(database: Database, job: ObjectId) -> Job:
    """Show how far a job is until it is over; returns how it ended."""
    seen = await jobs.find(database, job)
    with progress_bar("replaying", seen.selected) as advance:
        while seen.open:
            stop_if_cancelled()
            advance(seen.replayed)
            await asyncio.sleep(LOOK_SECONDS)
            seen = await jobs.find(database, job)
        advance(seen.replayed)
    return seen


async def _steps(database: Database, job: Job, owner: str, advance: Advance) -> None:
    pace = Pace(job.rate)
    while job.open:
        stop_if_cancelled()
        try:
            after = await jobs.step(database, job, owner, limit=pace.page)
        except Exception as error:
            await jobs.set_aside(database, job, owner, error)
            raise
        if after is None:
            return
        pace.spent(after.replayed - job.replayed)
        job = after
        advance(job.replayed)
        if job.open:
            await asyncio.sleep(pace.wait())

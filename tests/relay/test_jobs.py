"""Timed jobs."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import HISTORY, Database, Document
from outbox.message import schema
from outbox.servers.timed_jobs import Job, Jobs
from outbox.settings import OutboxSettings, load
from outbox_relay import jobs as relay_jobs
from outbox_relay.settings import RelaySettings
from tests.waiting import eventually


async def test_a_job_that_is_under_way_when_the_relay_stops_is_left_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started, ended, endless = asyncio.Event(), asyncio.Event(), asyncio.Event()
    defects: list[BaseException] = []

    async def job() -> int:
        started.set()
        try:
            await endless.wait()
        finally:
            ended.set()
        return 0

    jobs = Jobs(defects.append)
    jobs.add("endless", job, seconds=1)
    jobs.start()
    await eventually(started.is_set)
    jobs.stop()
    await eventually(ended.is_set)
    await asyncio.sleep(0)  # for who looks at the outcome
    await asyncio.sleep(0)
    assert not defects
    assert not [record for record in caplog.records if record.name.startswith("apscheduler")]


async def test_relays_record_the_history(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> None:
    """Often enough that no minute is left out, and without a line in the log each time."""
    added: dict[str, tuple[Job, float]] = {}

    class Collected:
        def add(self, name: str, job: Job, *, seconds: float) -> None:
            added[name] = (job, seconds)

    settings, place = load(OutboxSettings), Database(mongo, database)
    await schema.ensure(place, settings.streams)
    jobs = cast(Jobs, cast(Any, Collected()))
    relay_jobs.add_all(jobs, place, redis, settings.streams, settings, load(RelaySettings))
    job, seconds = added["record history"]
    assert await job() == 0
    assert await place[HISTORY].count_documents({}) == 1
    assert seconds * 1.1 < 30

"""Timed jobs."""

from __future__ import annotations

import asyncio

import pytest

from outbox.servers.timed_jobs import Jobs
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

"""Timed jobs."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient

from outbox.message.schema import Document
from outbox.servers.database import Database
from outbox_api.uploads.records import UPLOADING
from outbox_relay.jobs import SILENT_SECONDS, Jobs, Uploads
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


async def test_an_upload_that_is_under_way_outlives_a_clock_that_is_set_forward(
    mongo: AsyncMongoClient[Document], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the server's clock it has been silent for hours; by ours it was touched a moment ago."""
    db, now = Database(mongo, database), 1000.0
    monkeypatch.setattr("outbox_relay.silence.time.monotonic", lambda: now)
    uploads = Uploads(db, timedelta(hours=1))
    await db.files.insert_one({"_id": ObjectId(), "parsing": UPLOADING})
    for hours in (9, 8, 7):  # each time another sign of life, and each time the clock is set forward
        then: list[Document] = [{"$set": {"updated_at": {"$subtract": ["$$NOW", hours * 3600_000]}}}]
        await db.files.update_one({}, then)
        assert await uploads.run_once() == 0
        now += SILENT_SECONDS + 1
    assert await uploads.run_once() == 1

"""What the API has begun and nobody finished is removed; whatever others keep in `files` is not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient

from outbox.database import Database, Document
from outbox.errors import SettingsError
from outbox.servers import silence
from outbox.settings import load
from outbox_api.settings import SILENT_SECONDS, ApiSettings
from outbox_api.uploads import records
from outbox_api.uploads.abandoned import Uploads
from tests.api.conftest import Serve
from tests.api.test_duplicates import FORM, PARTS
from tests.waiting import eventually, pass_by

LONG_AGO = datetime.now(UTC) - timedelta(days=30)
VERSION_BEFORE: Document = {
    "filename": "a", "folder_id": None, "content_type": "text/plain", "size": None, "sha256": None,
    "parsing": "uploading", "version": 0, "message_id": None, "created_at": LONG_AGO, "updated_at": LONG_AGO,
}  # fmt: skip
OTHERS: list[Document] = [
    {"parsing": "uploading", "updated_at": LONG_AGO},
    {"parsing": "abandoned", "updated_at": LONG_AGO, "version": 0},
    {"parsing": "uploading", "updated_at": LONG_AGO, "version": 0, "size": None, "filename": "theirs"},
    {**VERSION_BEFORE, "size": 7},
    {**VERSION_BEFORE, "message_id": "theirs", "parsing": "abandoned"},
]


async def test_an_upload_that_is_under_way_outlives_a_clock_that_is_set_forward(
    mongo: AsyncMongoClient[Document], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the server's clock it has been silent for hours; by ours it was touched a moment ago."""
    db, now = Database(mongo, database), 1000.0
    monkeypatch.setattr(silence, "time", SimpleNamespace(monotonic=lambda: now))  # for nobody else
    uploads = Uploads(db, load(ApiSettings))
    await records.begin(db, ObjectId(), "a", "text/plain")
    for hours in (9, 8, 7):  # each time another sign of life, and each time the clock is set forward
        then: list[Document] = [{"$set": {"updated_at": {"$subtract": ["$$NOW", hours * 3600_000]}}}]
        await db.files.update_one({}, then)
        assert await uploads.run_once() == 0
        now += SILENT_SECONDS + 1
    assert await uploads.run_once() == 1


async def test_only_what_the_api_has_begun_is_removed(mongo: AsyncMongoClient[Document], database: str) -> None:
    db = Database(mongo, database)
    await records.begin(db, begun := ObjectId(), "a", "text/plain")
    await db.files.update_one({"_id": begun}, {"$set": {"updated_at": LONG_AGO}})
    await db.files.insert_many([{**VERSION_BEFORE}, {**VERSION_BEFORE, "parsing": "abandoned"}])
    await db.files.insert_many([{"_id": number, **document} for number, document in enumerate(OTHERS)])
    assert await records.remove_abandoned(db, older_than=timedelta(hours=1)) == 3
    assert [document["_id"] async for document in db.files.find().sort("_id")] == list(range(len(OTHERS)))
    assert await records.signs_of_life(db) == {}


async def test_a_running_api_removes_it(serve: Serve, db: Database) -> None:
    await serve(api_abandoned_seconds=2, api_idle_seconds=1)
    await records.begin(db, begun := ObjectId(), "a", "text/plain")
    await db.files.update_one({"_id": begun}, {"$set": {"updated_at": LONG_AGO}})
    await db.files.insert_one({"_id": "theirs", "parsing": "uploading", "updated_at": LONG_AGO})
    await eventually(lambda: gone(db, begun), 30)
    assert await db.files.find_one({"_id": "theirs"})


async def test_an_upload_whose_bytes_come_slowly_is_not_taken_for_abandoned(serve: Serve, db: Database) -> None:
    """It lasts several times longer than one that shows no life, and than the usual time between two signs of it."""
    api = await serve(api_abandoned_seconds=6, api_idle_seconds=3)

    async def slowly() -> AsyncIterator[bytes]:
        yield PARTS[0]
        until = time.monotonic() + 15
        while time.monotonic() < until:
            yield b"x" * 10
            await pass_by(0.2)
        yield PARTS[1]

    answer = await api.post("/files", content=slowly(), headers=FORM)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("abandoned", [20, 119.9])
def test_an_upload_may_not_count_as_abandoned_while_its_body_may_pause(abandoned: float) -> None:
    with pytest.raises(SettingsError, match=r"OUTBOX_API_ABANDONED_SECONDS.* twice OUTBOX_API_IDLE_SECONDS"):
        load(ApiSettings, api_abandoned_seconds=abandoned)


@pytest.mark.parametrize("touch", [1, 30, 5000])
@pytest.mark.parametrize(("idle", "abandoned"), [(60, 3600), (60, 120), (5, 10), (900, 3600), (3600, 90_000)])
def test_between_two_signs_of_life_there_is_time_to_spare(touch: float, idle: float, abandoned: float) -> None:
    settings = load(ApiSettings, api_touch_seconds=touch, api_idle_seconds=idle, api_abandoned_seconds=abandoned)
    assert settings.sign_seconds <= touch
    assert settings.sign_seconds + idle <= settings.silent_seconds * 3 / 4 <= abandoned * 3 / 4


async def gone(db: Database, file_id: ObjectId) -> bool:
    return await db.files.find_one({"_id": file_id}) is None

"""Urgent and patient uploads: each priority's messages are in a stream of its own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pymongo import AsyncMongoClient

from outbox.database import Database
from outbox.message import schema
from outbox.settings import OutboxSettings
from tests.api.conftest import Serve

FILE = {"file": ("a.txt", b"contents")}
FOLDER = {"folderId": "invoices"}


@pytest.fixture
async def settings(
    outbox_settings: OutboxSettings, mongo: AsyncMongoClient[dict[str, Any]], db: Database
) -> OutboxSettings:
    (stream,) = outbox_settings.outbox_streams
    declared = stream.model_copy(update={"priorities": ["high", "low"]})
    settings = outbox_settings.model_copy(update={"outbox_streams": [declared]})
    await schema.ensure(db, settings.streams)
    return settings


@pytest.mark.parametrize(
    ("priority", "stream"),
    [
        ("high", "file_parsing_queue:high"),
        ("normal", "file_parsing_queue"),
        (None, "file_parsing_queue"),
        ("low", "file_parsing_queue:low"),
    ],
)
async def test_an_upload_and_a_reparse_go_to_the_stream_of_their_priority(
    priority: str | None, stream: str, serve: Serve, settings: OutboxSettings, db: Database
) -> None:
    api = await serve(settings)
    told = {"priority": priority} if priority else {}
    uploaded = await api.post("/files", files=FILE, data=FOLDER | told)
    assert uploaded.status_code == 201
    again = await api.put("/files/reparse", json={"files_id": [uploaded.json()["id"]], **FOLDER, **told})
    assert again.status_code == 200
    assert [message["stream"] for message in await db.outbox.find().to_list()] == [stream, stream]


async def test_a_priority_that_has_no_stream_is_told_before_anything_is_stored(
    api: httpx.AsyncClient, db: Database
) -> None:
    refused = await api.post("/files", files=FILE, data=FOLDER | {"priority": "high"})
    assert (refused.status_code, refused.json()["title"]) == (422, "No such priority")
    assert 'add "priorities": ["high"]' in refused.json()["detail"]
    (plain,) = (await api.post("/files", files=FILE, data=FOLDER)).json()["files"]
    refused = await api.put("/files/reparse", json={"files_id": [plain["id"]], **FOLDER, "priority": "low"})
    assert (refused.status_code, refused.json()["title"]) == (422, "No such priority")
    assert await db.files.count_documents({}) == await db.outbox.count_documents({}) == 1
    assert (await api.get(f"/files/{plain['id']}")).json()["version"] == 1


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        ({"priority": "urgent"}, "use high, normal, low"),
        ({"priority": ""}, "use high, normal, low"),
        ({"priority": ["normal", "normal"]}, "twice"),
        ({"priority": "x" * 5000}, "too long"),
    ],
)
async def test_a_wrong_priority_is_refused(
    data: dict[str, Any], detail: str, api: httpx.AsyncClient, db: Database
) -> None:
    refused = await api.post("/files", files=FILE, data=FOLDER | data)
    assert (refused.status_code, refused.json()["title"]) == (422, "Wrong parts")
    assert detail in refused.json()["detail"]
    assert await db.files.count_documents({}) == 0


async def test_the_same_upload_in_another_priority_is_another_upload(
    serve: Serve, settings: OutboxSettings, db: Database
) -> None:
    api = await serve(settings)
    key = {"Idempotency-Key": "k"}
    first = await api.post("/files", files=FILE, data=FOLDER | {"priority": "high"}, headers=key)
    same = await api.post("/files", files=FILE, data=FOLDER | {"priority": "high"}, headers=key)
    assert (same.json(), same.headers["idempotent-replayed"]) == (first.json(), "true")
    other = await api.post("/files", files=FILE, data=FOLDER, headers=key)
    assert (other.status_code, other.json()["title"]) == (422, "Idempotency key taken")
    assert await db.outbox.count_documents({}) == 1

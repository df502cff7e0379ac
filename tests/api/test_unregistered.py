"""The stream for files is not registered any more: an operator's to mend, and no mistake of who uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from bson import ObjectId

from outbox.database import STREAMS, Database
from outbox.streams import registry
from outbox.streams.declaration import FILE_STREAM, Stream, Streams
from outbox_api import readiness
from tests.api.test_duplicates import FORM, PARTS, UPLOAD, counts
from tests.waiting import eventually


@pytest.fixture
async def looking(api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """An application that looks at the registry whenever it is asked whether it is ready."""
    monkeypatch.setattr(readiness, "LOOK_SECONDS", 0)
    monkeypatch.setattr(readiness, "THOROUGH_SECONDS", 0)
    await registry.register(db, Streams([Stream("other", "g", partitions=1)]))
    ready = await api.get("/health/ready")
    assert ready.status_code == 200, ready.text
    return api


async def refused(api: httpx.AsyncClient) -> bool:
    answer = await api.get("/health/ready")
    return answer.status_code == 503 and f"{FILE_STREAM!r} is not registered" in answer.json()["checks"]["mongodb"]


def told(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:outbox:database-not-set-up"), answer.text
    assert answer.headers["retry-after"]
    assert f"{FILE_STREAM!r} is not registered" in answer.json()["detail"]
    assert "outbox init" in answer.json()["detail"]


async def test_uploads_and_reparses_wait_for_an_operator_and_go_on(looking: httpx.AsyncClient, db: Database) -> None:
    removed = await db[STREAMS].find_one_and_delete({"_id": FILE_STREAM})
    await eventually(lambda: refused(looking))
    body = {"files_id": [str(ObjectId())], "folderId": "f"}
    told(await looking.post("/files", content=UPLOAD, headers=FORM))
    told(await looking.put("/files/reparse", json=body))
    assert removed
    await db[STREAMS].insert_one(removed)
    assert (await looking.post("/files", content=UPLOAD, headers=FORM)).status_code == 201
    assert (await looking.put("/files/reparse", json=body)).status_code == 404
    assert (await looking.get("/health/ready")).status_code == 200


@pytest.mark.parametrize("priority", [b"", b'--b\r\nContent-Disposition: form-data; name="priority"\r\n\r\nnormal\r\n'])
async def test_an_upload_that_is_under_way_then_is_told_so_and_leaves_nothing(
    priority: bytes, looking: httpx.AsyncClient, db: Database
) -> None:
    async def overtaken() -> AsyncIterator[bytes]:
        yield PARTS[0]
        await eventually(lambda: db.files.find_one({}))
        await db[STREAMS].delete_one({"_id": FILE_STREAM})
        await eventually(lambda: refused(looking))
        yield b"\r\n" + priority.removesuffix(b"\r\n") + PARTS[1]

    told(await looking.post("/files", content=overtaken(), headers=FORM))
    assert set((await counts(db)).values()) == {0}


async def test_a_look_at_the_streams_outlives_that_they_change_meanwhile(
    looking: httpx.AsyncClient, db: Database
) -> None:
    """Readiness reads the registry, and asks Redis about each stream, at the same time."""
    for number in range(10):
        await registry.register(db, Streams([Stream(f"other-{number}", "g", partitions=1)]))
        ready = await looking.get("/health/ready")
        assert ready.status_code == 200, ready.text

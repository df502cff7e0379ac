"""Reparse: any number of files in one transaction, all of them or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.database import Database
from tests.api.conftest import Serve
from tests.waiting import pass_by


async def upload(api: httpx.AsyncClient, count: int = 1) -> list[str]:
    files = [("file", (f"{number}.txt", b"x")) for number in range(count)]
    told = (await api.post("/files", files=files, data={"folderId": "invoices"})).json()
    return [file["id"] for file in told["files"]]


async def reparse(api: httpx.AsyncClient, ids: Any, folder: Any = "other", **options: Any) -> httpx.Response:
    return await api.put("/files/reparse", json={"files_id": ids, "folderId": folder}, **options)


async def test_files_are_queued_again(api: httpx.AsyncClient, db: Database) -> None:
    ids = await upload(api, 3)
    await db.files.update_many({}, {"$set": {"parsing": "error: broken"}})
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await reparse(api, ids, headers={"traceparent": trace})

    assert answer.status_code == 200
    assert answer.json() == {"files_id": ids, "parsing": "queued"}
    for file_id in ids:
        file = (await api.get(f"/files/{file_id}")).json()
        assert (file["parsing"], file["version"]) == ("queued", 2)
        first, second = await db.outbox.find({"key": file_id}).sort("position").to_list()
        assert "reparse" not in first["fields"]
        assert second["fields"] == {"file_id": file_id, "reparse": "true", "folder_id": "other"}
        assert second["headers"] == {"traceparent": trace}
        record = await db.files.find_one({"_id": ObjectId(file_id)})
        assert record
        assert record["message_id"] == second["_id"]


async def test_an_id_given_twice_counts_once(api: httpx.AsyncClient, db: Database) -> None:
    (file_id,) = await upload(api)
    answer = await reparse(api, [file_id, file_id.upper(), file_id])
    assert answer.json()["files_id"] == [file_id]
    assert await db.outbox.count_documents({}) == 2


async def test_unknown_ids_are_named_and_nothing_changes(api: httpx.AsyncClient, db: Database) -> None:
    known = await upload(api, 2)
    unknown = [str(ObjectId()), str(ObjectId())]
    before = await db.files.find().to_list()
    answer = await reparse(api, [known[0], *unknown, known[1]])
    assert answer.status_code == 404
    assert answer.json()["ids"] == unknown
    assert await db.files.find().to_list() == before
    assert await db.outbox.count_documents({}) == 2


async def test_uploading_ids_are_named_and_nothing_changes(api: httpx.AsyncClient, db: Database) -> None:
    known = await upload(api)
    coming = ObjectId()
    await db.files.insert_one({"_id": coming, "parsing": "uploading"})
    answer = await reparse(api, [*known, str(coming)])
    assert answer.status_code == 409
    assert answer.json()["ids"] == [str(coming)]
    assert await db.outbox.count_documents({}) == 1


async def test_malformed_ids_are_named(api: httpx.AsyncClient, db: Database) -> None:
    answer = await reparse(api, [str(ObjectId()), "nonsense", "../x", "z" * 24])
    assert answer.status_code == 422
    faults = answer.json()["errors"]
    assert [(fault["where"], fault["value"]) for fault in faults] == [
        ("body.files_id.1", "nonsense"),
        ("body.files_id.2", "../x"),
        ("body.files_id.3", "z" * 24),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"files_id": []}',
        b"\xff",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"files_id": ["66f0c2a51f2b9c0d8e4a7b31"]}',
        b'{"files_id": ["66f0c2a51f2b9c0d8e4a7b31"], "folderId": ""}',
        b'{"files_id": ["66f0c2a51f2b9c0d8e4a7b31"], "folderId": "a\\u0000"}',
        b'{"files_id": ["66f0c2a51f2b9c0d8e4a7b31"], "folderId": "\\ud800"}',
        b'{"files_id": ["66f0c2a51f2b9c0d8e4a7b31"], "folderId": "a", "\\ud800": 1}',
        b'{"files_id": ["66f0c2a51f2b9c0d8e4a7b31"], "folder_id": "a"}',
        b'{"files_id": "66f0c2a51f2b9c0d8e4a7b31", "folderId": "a"}',
    ],
)
async def test_another_body_is_refused(body: bytes, api: httpx.AsyncClient) -> None:
    answer = await api.put("/files/reparse", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:outbox:invalid-request"


async def test_too_many_ids_and_too_large_a_body_are_refused(api: httpx.AsyncClient) -> None:
    assert (await reparse(api, [str(ObjectId()) for _ in range(1001)])).status_code == 422
    answer = await api.put("/files/reparse", content=b"[" * 1_100_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:outbox:body-too-large"


async def test_a_thousand_files_at_once(api: httpx.AsyncClient, db: Database) -> None:
    ids = [ObjectId() for _ in range(1000)]
    await db.files.insert_many([{"_id": file_id, "parsing": "parsed", "version": 1} for file_id in ids])
    assert (await reparse(api, [str(file_id) for file_id in ids])).status_code == 200
    assert await db.outbox.count_documents({"fields.reparse": "true"}) == 1000
    assert await db.files.count_documents({"parsing": "queued", "version": 2}) == 1000


async def test_a_body_that_comes_byte_by_byte_for_ever_is_refused(serve: Serve, db: Database) -> None:
    """Each byte is in time, and a connection would be held as long as somebody likes."""
    api = await serve(api_idle_seconds=0.5)
    sent = 0

    async def dripping() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            yield b" "
            sent += 1
            await pass_by(0.05)

    for path in ("/files/reparse", "/outbox/replay"):
        method = "PUT" if path.startswith("/files") else "POST"
        answer = await api.request(method, path, content=dripping(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 408
    assert sent > 2

"""Unique indexes of the application's own, on collections that the API writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.database import Database
from tests.waiting import eventually

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="folderId"\r\n\r\ninvoices\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ncontents',
    b"\r\n--b--\r\n",
)
UPLOAD = b"".join(PARTS)
COUNTED = ("files", "fs.files", "fs.chunks", "outbox", "idempotency_keys")


@pytest.fixture
async def unique(db: Database) -> AsyncIterator[Any]:
    """Makes a unique index, which is there for this test."""
    made: list[tuple[str, str]] = []

    async def make(collection: str, *fields: str, **options: Any) -> None:
        keys = [(field, 1) for field in fields]
        made.append((collection, await db[collection].create_index(keys, unique=True, **options)))

    yield make
    for collection, name in made:
        await db[collection].drop_index(name)


async def counts(db: Database) -> dict[str, int]:
    return {name: await db[name].count_documents({}) for name in COUNTED}


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "second"}], ids=["without key", "with a key"])
@pytest.mark.parametrize(
    ("collection", "fields"),
    [("files", ("folder_id", "filename")), ("files", ("filename",)), ("fs.files", ("filename",))],
)  # the first fails with the commit, the second before any contents, the third after them
async def test_a_second_file_of_a_name_is_refused_as_what_it_is(
    collection: str, fields: tuple[str, ...], key: dict[str, str], api: httpx.AsyncClient, db: Database, unique: Any
) -> None:
    await unique(collection, *fields)
    first = await api.post("/files", content=UPLOAD, headers={**FORM, "Idempotency-Key": "first"})
    assert first.status_code == 201
    before = await counts(db)
    answer = await api.post("/files", content=UPLOAD, headers={**FORM, **key})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:outbox:duplicate"), answer.text
    assert " and ".join(fields) in answer.json()["detail"]
    assert "retry-after" not in answer.headers
    assert await counts(db) == before
    again = await api.post("/files", content=UPLOAD, headers={**FORM, "Idempotency-Key": "first"})
    assert again.json() == first.json()


async def test_of_two_at_once_under_one_key_the_slower_gets_the_answer_whatever_refuses_it(
    api: httpx.AsyncClient, db: Database, unique: Any
) -> None:
    await unique("files", "folder_id", "filename", partialFilterExpression={"version": {"$gte": 1}})
    headers = {**FORM, "Idempotency-Key": "one"}
    answers: list[object] = []

    async def overtaken() -> AsyncIterator[bytes]:
        yield PARTS[0]
        await eventually(lambda: db.files.find_one({}), what="it has asked for its key before there is one")
        answers.append((await api.post("/files", content=UPLOAD, headers=headers)).json())
        yield PARTS[1]

    second = await api.post("/files", content=overtaken(), headers=headers)
    assert (second.status_code, [second.json()]) == (201, answers)
    assert set((await counts(db)).values()) == {1}


async def test_a_version_that_is_taken_is_refused(api: httpx.AsyncClient, db: Database, unique: Any) -> None:
    await unique("files", "filename", "version")
    old, new = ObjectId(), ObjectId()
    await db.files.insert_many(
        [{"_id": id_, "filename": "a", "version": version} for id_, version in ((old, 1), (new, 2))]
    )
    answer = await api.put("/files/reparse", json={"files_id": [str(old)], "folderId": "invoices"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:outbox:duplicate"), answer.text
    assert [one["version"] async for one in db.files.find().sort("version")] == [1, 2]
    assert await db.outbox.count_documents({}) == 0

"""Validators of others on collections that the API writes, and documents that cannot be changed: told as what they are,
and not as an outage that passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import Int64, ObjectId

from outbox.database import Database
from tests.api.test_duplicates import FORM, UPLOAD, counts

OLD = ("_id", "filename", "folder_id", "parsing")
CLOSED: dict[str, Any] = {"$jsonSchema": {"properties": {key: {} for key in OLD}, "additionalProperties": False}}
OF_OTHERS: dict[str, Any] = {"$jsonSchema": {"required": ["tenant"]}}


@pytest.fixture
async def validate(db: Database) -> AsyncIterator[Any]:
    """Sets a validator, which is there for this test."""
    had: list[str] = []

    async def put(collection: str, validator: dict[str, Any]) -> None:
        had.append(collection)
        await db.command("collMod", collection, validator=validator)

    yield put
    for collection in had:
        await db.command("collMod", collection, validator={})


def told(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:outbox:write-refused"), answer.text
    assert "retry-after" not in answer.headers
    return str(answer.json()["detail"])


@pytest.mark.parametrize(
    ("collection", "validator"),
    [
        ("files", CLOSED),
        ("files", {"folder_id": {"$ne": "invoices"}}),
        ("fs.files", OF_OTHERS),
        ("fs.chunks", OF_OTHERS),
    ],
)  # the first before any contents, the second with the commit
async def test_an_upload_that_a_validator_does_not_allow_is_refused_for_good_and_leaves_nothing(
    collection: str, validator: dict[str, Any], api: httpx.AsyncClient, db: Database, validate: Any
) -> None:
    before = await counts(db)
    await validate(collection, validator)
    detail = told(await api.post("/files", content=UPLOAD, headers={**FORM, "Idempotency-Key": "k"}))
    assert f"`{collection}`" in detail
    assert "docs/migration.md" in detail
    assert await counts(db) == before


async def test_a_reparse_that_a_validator_does_not_allow_is_refused_for_good(
    api: httpx.AsyncClient, db: Database, validate: Any
) -> None:
    await db.files.insert_one(old := {"_id": ObjectId(), "filename": "a", "folder_id": "f", "parsing": "parsed"})
    await validate("files", CLOSED)
    answer = await api.put("/files/reparse", json={"files_id": [str(old["_id"])], "folderId": "f"})
    assert "`files`" in told(answer)
    assert await db.files.find_one({}) == old
    assert await db.outbox.count_documents({}) == 0


UNCHANGEABLE: dict[str, tuple[dict[str, Any], str]] = {
    "full": ({"text": "x" * (16 * 1024**2 - 100)}, "so large"),
    "text as version": ({"version": "3"}, "`version`"),
    "the highest version": ({"version": Int64(2**63 - 1)}, "`version`"),
}


@pytest.mark.parametrize("what", UNCHANGEABLE)
async def test_a_reparse_of_a_document_that_cannot_be_changed_is_refused_for_good(
    what: str, api: httpx.AsyncClient, db: Database
) -> None:
    fields, why = UNCHANGEABLE[what]
    await db.files.insert_one(old := {"_id": ObjectId(), "parsing": "parsed", **fields})
    answer = await api.put("/files/reparse", json={"files_id": [str(old["_id"])], "folderId": "f"})
    assert why in told(answer)
    assert await db.files.find_one({}) == old
    assert await db.outbox.count_documents({}) == 0


async def test_the_documents_name_each_field_that_is_written(api: httpx.AsyncClient, db: Database) -> None:
    await api.post("/files", content=UPLOAD, headers=FORM)
    record = await db.files.find_one({})
    assert record
    page = (Path(__file__).parents[2] / "docs" / "migration.md").read_text(encoding="utf-8")
    assert [name for name in record if name != "_id" and f"`{name}`" not in page] == []

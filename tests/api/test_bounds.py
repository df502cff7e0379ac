"""However large what is stored, and whoever wrote it: one GET takes up a few megabytes, and all can be reached."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.database import Database
from outbox.operations import reasons
from outbox.settings import OutboxSettings
from tests.api.serving import Api

BOUND = 8 * 1024**2
"""Bytes of an answer."""

NOW = datetime.now(UTC)
MEGABYTES_15 = "x" * (15 * 1024**2)


def message(**more: Any) -> dict[str, Any]:
    return {
        "_id": ObjectId(), "stream": "file_parsing_queue", "partition": 0, "key": "k", "state": "dead", "attempts": 1,
        "fields": {"file_id": "k"}, "headers": {}, "created_at": NOW, "last_error": "x", **more,
    }  # fmt: skip


async def insert(db: Database, collection: str, *documents: dict[str, Any]) -> None:
    for document in documents:
        await db[collection].insert_one(document, bypass_document_validation=True)


async def walk(api: httpx.AsyncClient, path: str, name: str) -> list[dict[str, Any]]:
    """All there is, page by page, as a client reads it."""
    found: list[dict[str, Any]] = []
    before: str | None = ""
    while before is not None:
        answer = await api.get(path, params={"limit": 500, **({"before": before} if before else {})})
        assert answer.status_code == 200, answer.text[:500]
        assert len(answer.content) < BOUND
        page = answer.json()
        assert page[name], "a page that is not the last one has something on it"
        found += page[name]
        before = page["before"]
    return found


async def test_pages_of_large_messages_are_bounded_and_reach_all(api: httpx.AsyncClient, db: Database) -> None:
    stored = [message(fields={"text": "y" * 250_000}) for _ in range(60)]
    await insert(db, "outbox", *stored)
    found = await walk(api, "/outbox/messages", "messages")
    assert [each["id"] for each in found] == sorted((str(each["_id"]) for each in stored), reverse=True)
    assert all(len(each["fields"]["text"]) == 250_000 for each in found), "such a message is shown whole"


HUGE: dict[str, dict[str, Any]] = {
    "a value": {"fields": {"text": MEGABYTES_15}},
    "an error": {"last_error": MEGABYTES_15},
    "a key": {"key": MEGABYTES_15},
    "many values": {f"field{n}": "z" * 10_000 for n in range(1500)},
    "many numbers": {"fields": {"list": [0] * 1_200_000}},
    "deep": {"fields": {"a": [[[[["w" * 1000] * 100] * 10] * 10]]}},
    "names": {"n" * 1_000_000: 1, "m": MEGABYTES_15[:5_000_000]},
}


@pytest.mark.parametrize("what", HUGE)
async def test_one_huge_message_is_shown_without_what_makes_it_huge(
    what: str, api: httpx.AsyncClient, db: Database
) -> None:
    (one,) = stored = [message(**HUGE[what])]
    await insert(db, "outbox", *stored, message())
    for path in (
        f"/outbox/messages/{one['_id']}", "/outbox/messages", "/dashboard/search?state=dead", "/dashboard/dead",
        f"/dashboard/messages/{one['_id']}", "/dashboard/search?q=k", "/dashboard",
    ):  # fmt: skip
        answer = await api.get(path)
        assert answer.status_code == 200, (path, answer.text[:300])
        assert len(answer.content) < BOUND, path
    told = (await api.get(f"/outbox/messages/{one['_id']}")).json()
    assert (told["id"], told["state"]) == (str(one["_id"]), "dead")
    assert len(await walk(api, "/outbox/messages", "messages")) == 2


async def test_large_records_of_files_are_bounded(api: httpx.AsyncClient, db: Database) -> None:
    ids = [ObjectId() for _ in range(4)]
    for id_ in ids:
        record = {"_id": id_, "filename": "n", "folder_id": "f", "parsing": f"error: {MEGABYTES_15}", "version": 1}
        await insert(db, "files", record, {"_id": ObjectId(), "filename": "small", "parsing": "queued", "version": 1})
    assert len(await walk(api, "/files", "files")) == 8
    for path in (f"/files/{ids[0]}", "/dashboard/search?q=n", f"/dashboard/search?q={ids[0]}", "/dashboard"):
        answer = await api.get(path)
        assert answer.status_code == 200
        assert len(answer.content) < BOUND, path


async def test_large_records_of_the_audit_are_bounded(api: httpx.AsyncClient, db: Database) -> None:
    """As versions before wrote them: with each of 10,000 ids."""
    details = {"selection": {"ids": [ObjectId() for _ in range(10_000)]}}
    records = [{"_id": ObjectId(), "at": NOW, "who": "w", "action": "replay", "details": details} for _ in range(30)]
    huge = {"_id": ObjectId(), "at": NOW, "who": "w", "action": "replay", "details": {"x": MEGABYTES_15}}
    await insert(db, "outbox_audit", *records, huge)
    found = await walk(api, "/outbox/audit", "records")
    assert len(found) == 31
    answer = await api.get("/dashboard/audit")
    assert answer.status_code == 200
    assert len(answer.content) < BOUND


async def test_reasons_are_cut_before_they_are_counted(db: Database) -> None:
    await insert(db, "outbox", *[message(last_error=MEGABYTES_15) for _ in range(9)], message(last_error=7))
    found = await reasons.reasons(db)
    assert sorted((reason.count, len(reason.text) <= 2000) for reason in found) == [(1, True), (9, True)]


async def test_one_get_takes_little_memory(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    stored = [message(fields={"text": "y" * 250_000}) for _ in range(250)]
    await db.outbox.insert_many(stored, bypass_document_validation=True)
    await insert(db, "outbox", *[message(fields={"list": [0] * 1_200_000}) for _ in range(4)])
    with Api(tmp_path, outbox_settings) as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            assert (await client.get("/outbox/messages?limit=1")).status_code == 200
            before = process.memory()
            assert len(await walk(client, "/outbox/messages", "messages")) == 254
            assert process.memory() - before < 64 * 1024**2

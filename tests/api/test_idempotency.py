"""One key, one upload: however often, and at whatever time, it is repeated."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from outbox.database import Database
from outbox.servers.clock import server_time
from outbox.settings import OutboxSettings
from tests.api.conftest import Serve
from tests.api.serving import Api

FOLDER = {"folderId": "invoices"}
KEY = {"Idempotency-Key": "5f0d9b7e"}


async def counts(db: Database) -> list[int]:
    return [await db[name].count_documents({}) for name in ("files", "fs.files", "outbox")]


async def test_a_repetition_gets_the_first_answer(api: httpx.AsyncClient, db: Database) -> None:
    upload = {"files": {"file": ("a.txt", b"contents")}, "data": FOLDER, "headers": KEY}
    first = await api.post("/files", **upload)  # type: ignore[arg-type]
    await db.files.update_one({}, {"$set": {"parsing": "parsed"}})
    again = await api.post("/files", **upload)  # type: ignore[arg-type]

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await counts(db) == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "contents", "folder"),
    [("b.txt", b"contents", "i"), ("a.txt", b"others", "i"), ("a.txt", b"contents", "j")],
)
async def test_another_upload_under_the_same_key_is_refused(
    name: str, contents: bytes, folder: str, api: httpx.AsyncClient, db: Database
) -> None:
    await api.post("/files", files={"file": ("a.txt", b"contents")}, data={"folderId": "i"}, headers=KEY)
    answer = await api.post("/files", files={"file": (name, contents)}, data={"folderId": folder}, headers=KEY)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:outbox:idempotency-key-taken"
    assert await counts(db) == [1, 1, 1]


async def test_of_many_at_once_one_wins_and_all_get_its_answer(serve: Serve, db: Database) -> None:
    apis = [await serve(), await serve()]
    everybody_has_begun = asyncio.Barrier(6)

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="folderId"\r\n\r\ninvoices\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ncontents'
        await everybody_has_begun.wait()  # so that no one finds the key of another when it begins
        yield b"\r\n--b--\r\n"

    headers = {**KEY, "Content-Type": "multipart/form-data; boundary=b"}
    answers = await asyncio.gather(
        *(apis[number % 2].post("/files", content=body(), headers=headers) for number in range(6))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == ["", *["true"] * 5]
    assert await counts(db) == [1, 1, 1]
    assert await db["fs.chunks"].count_documents({}) == 1


async def test_a_refused_upload_does_not_use_its_key_up(api: httpx.AsyncClient, db: Database) -> None:
    refused = await api.post("/files", files={"file": ("a.txt", b"")}, data=FOLDER, headers=KEY)
    assert refused.status_code == 422
    accepted = await api.post("/files", files={"file": ("a.txt", b"a")}, data=FOLDER, headers=KEY)
    assert accepted.status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é"])
async def test_a_key_must_be_one(key: str, api: httpx.AsyncClient, db: Database) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    answer = await api.post("/files", files={"file": ("a.txt", b"a")}, data=FOLDER, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "header.Idempotency-Key"
    assert await counts(db) == [0, 0, 0]


LATE = """
import datetime

class Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, Late.__mro__[1])

class Late(datetime.datetime, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(hours=25)

datetime.datetime = Late
"""


async def test_a_key_lives_for_a_day_by_the_servers_clock(
    outbox_settings: OutboxSettings, db: Database, tmp_path: Path
) -> None:
    """That of the API is a day late: by it, the key would be over at once."""
    (tmp_path / "sitecustomize.py").write_text(LATE)
    with Api(
        tmp_path, outbox_settings, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ) as api:
        async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
            answer = await client.post("/files", files={"file": ("a.txt", b"a")}, data=FOLDER, headers=KEY)
            assert answer.status_code == 201
    remembered = await db.idempotency_keys.find_one({})
    assert remembered is not None
    assert abs((await server_time(db) - remembered["created_at"]).total_seconds()) < 600


async def test_two_keys_of_one_request_are_refused(api: httpx.AsyncClient, db: Database) -> None:
    keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answers = [
        await api.post("/files", files={"file": ("a.txt", b"contents")}, data=FOLDER, headers=keys),
        await api.post("/outbox/replay", json={"stream": "file_parsing_queue"}, headers=keys),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "header.Idempotency-Key"), answer.text
    assert [await db[name].count_documents({}) for name in ("files", "outbox_jobs")] == [0, 0]

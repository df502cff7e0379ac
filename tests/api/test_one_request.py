"""On MongoDB 8.0 an upload's records, its key and its messages are one request: tested against a stand-in for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from outbox.database import Database
from outbox.embedded import Mongod
from outbox.settings import OutboxSettings
from tests.api.conftest import Serve
from tests.outbox.stand_in import StandIn
from tests.waiting import eventually

FOLDER = {"folderId": "invoices"}
KEY = {"Idempotency-Key": "one"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="folderId"\r\n\r\ninvoices\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ncontents',
    b"\r\n--b--\r\n",
)


@pytest.fixture
async def server(mongod: Mongod) -> AsyncIterator[tuple[StandIn, SecretStr]]:
    stand_in = StandIn(mongod)
    async with stand_in.open() as uri:
        yield stand_in, SecretStr(uri)


@pytest.fixture
async def sent(server: tuple[StandIn, SecretStr]) -> list[str]:
    """The commands of transactions."""
    return server[0].sent


@pytest.fixture
async def api(
    db: Database, server: tuple[StandIn, SecretStr], serve: Serve, outbox_settings: OutboxSettings
) -> httpx.AsyncClient:
    return await serve(outbox_settings.model_copy(update={"mongodb_uri": server[1]}))


async def test_an_upload_is_two_requests(api: httpx.AsyncClient, db: Database, sent: list[str]) -> None:
    files = [("file", (name, name.encode())) for name in ("a.txt", "b.txt")]
    answer = await api.post("/files", files=files, data=FOLDER, headers=KEY)
    assert answer.status_code == 201
    assert sent == ["bulkWrite", "commitTransaction"]
    for file in answer.json()["files"]:
        assert (await api.get(f"/files/{file['id']}")).json() == file
    assert await db.outbox.count_documents({"key": {"$in": [file["id"] for file in answer.json()["files"]]}}) == 2
    assert (await api.post("/files", files=files, data=FOLDER, headers=KEY)).json() == answer.json()


async def test_an_upload_taken_for_abandoned_is_lost(api: httpx.AsyncClient, db: Database) -> None:
    async def given_up() -> AsyncIterator[bytes]:
        yield PARTS[0]
        assert await eventually(lambda: db.files.find_one({}))
        await db.files.update_many({}, {"$set": {"parsing": "abandoned"}})
        yield PARTS[1]

    answer = await api.post("/files", content=given_up(), headers=FORM)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:outbox:upload-lost")
    assert await db.outbox.count_documents({}) == 0


async def test_of_two_at_once_under_one_key_the_slower_gets_the_answer_of_the_other(
    api: httpx.AsyncClient, db: Database, sent: list[str]
) -> None:
    async def overtaken() -> AsyncIterator[bytes]:
        yield PARTS[0]
        first = await api.post("/files", content=b"".join(PARTS), headers={**FORM, **KEY})
        answers.append(first.json())
        yield PARTS[1]

    answers: list[object] = []
    second = await api.post("/files", content=overtaken(), headers={**FORM, **KEY})
    assert (second.status_code, [second.json()]) == (201, answers)
    assert sent.count("bulkWrite") == 2
    assert await db.outbox.count_documents({}) == 1

"""What the API answers when MongoDB or Redis does not: never a guess, never an endless wait."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from outbox.database import Database
from outbox.embedded import Mongod, RedisServer
from outbox.errors import SchemaError, UndeclaredStream
from outbox.message import schema
from outbox.message.document import State
from outbox.servers import causes
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox_api.app import create_app
from outbox_api.collections import FILES_APPLICATION
from outbox_api.settings import ApiSettings
from tests.api.conftest import Serve
from tests.outbox.shelf import Shelf
from tests.waiting import eventually

UPLOAD: dict[str, Any] = {
    "files": {"file": ("a.txt", b"contents")},
    "data": {"folderId": "invoices"},
    "headers": {"Idempotency-Key": "key"},
}


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="folderId"\r\n\r\ninvoices\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ncontents\r\n--b--\r\n'
)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod of this module's own, whose commands can be made to fail."""
    with Mongod(tmp_path_factory.mktemp("mongod"), extra_args=["--setParameter", "enableTestCommands=1"]) as server:
        yield server


@pytest.fixture
def mongodb_uri(fragile: Mongod) -> str:
    fragile.start()
    return fragile.uri


@contextmanager
def failing(mongod: Mongod, mode: Any, *commands: str, **how: Any) -> Iterator[None]:
    data = {"failCommands": ["commitTransaction", *commands], **how}
    with mongod.client() as client:
        client.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "failCommand", mode="off")


# The commit is carried out, and the reply is of no use (NetworkTimeout).
REPLY_LOST = {"writeConcernError": {"code": 89, "errmsg": "timed out"}, "errorLabels": ["RetryableWriteError"]}
# The commit is carried out, and what waits until a majority has it is interrupted; the driver does not send it again.
INTERRUPTED = {"writeConcernError": {"code": 290, "errmsg": "the transaction is too old"}}
# The commit does not arrive.
REQUEST_LOST = {"closeConnection": True}


async def counts(db: Database) -> list[int]:
    return [await db[name].count_documents({}) for name in ("files", "outbox", "idempotency_keys")]


@pytest.mark.parametrize("how", [REPLY_LOST, REQUEST_LOST])
async def test_a_commit_lost_once_is_sent_again(
    how: Any, api: httpx.AsyncClient, db: Database, fragile: Mongod
) -> None:
    with failing(fragile, {"times": 1}, **how):
        answer = await api.post("/files", **UPLOAD)
    assert answer.status_code == 201
    assert await counts(db) == [1, 1, 1]


@pytest.mark.parametrize("how", [REPLY_LOST, INTERRUPTED], ids=["lost", "interrupted"])
async def test_a_commit_without_reply_is_looked_up(how: Any, serve: Serve, db: Database, fragile: Mongod) -> None:
    api = await serve(api_commit_seconds=1)
    with failing(fragile, "alwaysOn", **how):
        answer = await api.post("/files", **UPLOAD)
        assert answer.status_code == 201
        again = await api.put("/files/reparse", json={"files_id": [answer.json()["id"]], "folderId": "other"})
        assert again.status_code == 200
    assert await counts(db) == [1, 2, 1]
    assert (await api.get(f"/files/{answer.json()['id']}")).json()["version"] == 2


async def test_a_replay_whose_commit_was_interrupted_is_one_job(
    api: httpx.AsyncClient, db: Database, fragile: Mongod
) -> None:
    (message,) = await Shelf(db).put(State.PUBLISHED)
    with failing(fragile, "alwaysOn", **INTERRUPTED):
        answer = await api.post("/outbox/replay", json={"ids": [str(message)]})
    assert answer.status_code == 202, answer.text
    replays = (await api.get("/outbox/replays")).json()["replays"]
    assert [job["id"] for job in replays] == [answer.json()["id"]]


async def test_a_cancellation_whose_commit_was_interrupted_is_looked_up(
    api: httpx.AsyncClient, db: Database, fragile: Mongod
) -> None:
    (message,) = await Shelf(db).put(State.PUBLISHED)
    job = (await api.post("/outbox/replay", json={"ids": [str(message)]})).json()["id"]
    with failing(fragile, "alwaysOn", **INTERRUPTED):
        answer = await api.post(f"/outbox/replays/{job}/cancel")
    assert answer.status_code == 200, answer.text
    assert answer.json()["phase"] == "cancelled"
    assert await db.outbox_audit.count_documents({"action": "cancel replay"}) == 1


async def test_a_cancellation_whose_commit_did_not_arrive_is_none(serve: Serve, db: Database, fragile: Mongod) -> None:
    api = await serve(api_commit_seconds=2)
    (message,) = await Shelf(db).put(State.PUBLISHED)
    job = (await api.post("/outbox/replay", json={"ids": [str(message)]})).json()["id"]
    with failing(fragile, "alwaysOn", **REQUEST_LOST):
        answer = await api.post(f"/outbox/replays/{job}/cancel")
    assert (answer.status_code, answer.json()["title"]) == (503, "Server unreachable")
    assert (await api.get(f"/outbox/replays/{job}")).json()["phase"] == "waiting"
    assert (await api.post(f"/outbox/replays/{job}/cancel")).status_code == 200


@pytest.mark.parametrize("action", ["retry", "discard"])
async def test_what_a_page_did_is_looked_up_when_the_reply_is_lost(
    action: str, serve: Serve, db: Database, fragile: Mongod
) -> None:
    """The time that a transaction has is over by then, and the page must have some left."""
    api = await serve(api_commit_seconds=3)
    (message,) = await Shelf(db).put(State.DEAD)
    page = (await api.get(f"/dashboard/messages/{message}")).text
    (token, *_) = re.findall(r'name="token" value="([0-9a-f]{64})"', page)
    with failing(fragile, "alwaysOn", **REPLY_LOST):
        answer = await api.post(f"/dashboard/messages/{message}/{action}", data={"token": token})
    assert answer.status_code == 303, answer.text
    assert await db.outbox.count_documents({"state": "dead"}) == 0


async def test_a_commit_that_did_not_happen_is_looked_up_too(serve: Serve, db: Database, fragile: Mongod) -> None:
    api = await serve(api_commit_seconds=1)
    with failing(fragile, "alwaysOn", **REQUEST_LOST):
        answer = await api.post("/files", **UPLOAD)
    assert answer.status_code == 503
    assert answer.json()["title"] == "Server unreachable"
    assert await counts(db) == [1, 0, 0]
    assert (await api.get("/files")).json()["files"][0]["parsing"] == "uploading"


async def test_an_outcome_that_cannot_be_looked_up_is_not_guessed(serve: Serve, db: Database, fragile: Mongod) -> None:
    api = await serve(api_commit_seconds=5)
    headers = {"Idempotency-Key": "key", "Content-Type": "multipart/form-data; boundary=b"}

    with ExitStack() as stack:

        async def losing_the_server() -> AsyncIterator[bytes]:
            yield FORM[:-9]
            await eventually(lambda: db.files.find_one({}))
            # By which the look begins. Not `find`: mongod asks itself for a session it does not know yet by that, and
            # would refuse the upload's own transaction whenever the driver has no used session left to give it.
            stack.enter_context(failing(fragile, "alwaysOn", "killSessions", **REQUEST_LOST))
            yield FORM[-9:]

        answer = await api.post("/files", content=losing_the_server(), headers=headers)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["title"] == "Outcome unknown"
    assert fragile.address not in answer.text, "addresses are for the log"

    # As the server does by itself a minute later, with a transaction that nobody went on with.
    with fragile.client() as client:
        client.admin.command("killAllSessions", [])
    # Whatever it was: the same upload under the same key makes it happen once.
    assert (await api.post("/files", content=FORM, headers=headers)).status_code == 201
    assert await db.outbox.count_documents({}) == 1


async def test_without_mongodb_uploads_are_refused_and_come_back(serve: Serve, db: Database, fragile: Mongod) -> None:
    api = await serve(api_read_seconds=1, api_probe_seconds=1)
    fragile.kill()
    answer, listing, ready = await asyncio.gather(
        api.post("/files", **UPLOAD), api.get("/files"), api.get("/health/ready")
    )
    for refused in (answer, listing, ready):
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.headers["content-type"] == "application/problem+json"
        assert "127.0.0.1" not in refused.text
    assert (await api.get("/health/live")).status_code == 200
    fragile.start()
    assert (await api.post("/files", **UPLOAD)).status_code == 201


async def test_a_mongodb_that_hangs_is_waited_for_only_so_long(serve: Serve, db: Database, fragile: Mongod) -> None:
    api = await serve(api_read_seconds=0.5, api_probe_seconds=0.5)
    assert (await api.get("/files")).status_code == 200
    fragile.pause()
    try:
        started = time.monotonic()
        answers = await asyncio.gather(api.get("/files"), api.get("/outbox/stats"), api.get("/health/ready"))
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert time.monotonic() - started < 5
    finally:
        fragile.resume()


async def test_ready_is_degraded_without_redis(api: httpx.AsyncClient, redis_server: RedisServer) -> None:
    ready = {"status": "ready", "checks": {"mongodb": "ok", "redis": "ok"}, "warnings": []}
    assert (await api.get("/health/ready")).json() == ready
    redis_server.stop()
    answer = await eventually(lambda: _named(api, "degraded"))
    assert answer is not None
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "checks": {"mongodb": "ok", "redis": causes.explain(OSError()).in_short},
        "warnings": [],
    }


async def test_ready_warns_of_a_redis_that_drops_streams_when_it_is_full(
    api: httpx.AsyncClient, redis_server: RedisServer
) -> None:
    assert (await api.get("/health/ready")).json()["warnings"] == []
    with redis_server.client() as redis:
        redis.config_set("maxmemory-policy", "volatile-ttl")
        try:
            answer = await eventually(lambda: _named(api, "volatile-ttl"))
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert answer is not None
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert "the eviction policy of Redis is volatile-ttl" in answer.json()["warnings"][0]


async def test_a_database_that_is_not_set_up_is_refused(serve: Serve, not_set_up: OutboxSettings) -> None:
    with pytest.raises(SchemaError, match="outbox init"):
        await serve(not_set_up)


async def test_it_starts_before_mongodb_and_waits_for_the_schema(
    serve: Serve, fragile: Mongod, not_set_up: OutboxSettings
) -> None:
    fragile.stop()
    api = await serve(not_set_up, api_probe_seconds=0.3)
    fragile.start()
    answer = await eventually(lambda: _named(api, "not set up"))
    assert answer
    assert "outbox init" in answer.json()["checks"]["mongodb"]
    upload = await api.post("/files", **UPLOAD)
    assert upload.status_code == 503
    assert "outbox init" in upload.json()["detail"]

    async with connect_mongo(not_set_up) as client:
        db = Database(client, not_set_up.mongodb_database)
        assert await db.list_collection_names() == []
        await schema.ensure(db, not_set_up.streams, FILES_APPLICATION)
    await eventually(lambda: _named(api, '"mongodb":"ok"'))
    assert (await api.post("/files", **UPLOAD)).status_code == 201


async def _named(api: httpx.AsyncClient, what: str) -> httpx.Response | None:
    answer = await api.get("/health/ready")
    return answer if what in answer.text else None


def test_without_the_stream_for_files_there_is_no_application() -> None:
    other = load(OutboxSettings, outbox_streams=[{"name": "other", "group": "workers"}])
    with pytest.raises(UndeclaredStream):
        create_app(load(ApiSettings), other)

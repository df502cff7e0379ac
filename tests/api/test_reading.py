"""Looking files up, reading them, and what the API says of the outbox."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from bson import ObjectId
from redis.asyncio import Redis

from outbox.database import STREAMS, Database
from outbox.embedded import RedisServer
from outbox.message.document import State
from outbox.settings import OutboxSettings
from tests.api.callers import ALICE, SHARED, bearer
from tests.api.conftest import Serve
from tests.outbox.shelf import Shelf

FOLDER = {"folderId": "invoices"}
NOBODY = "66f0c2a51f2b9c0d8e4a7b31"


async def test_files_are_listed_by_page(api: httpx.AsyncClient) -> None:
    files = [("file", (f"{number}.txt", b"x")) for number in range(5)]
    told = (await api.post("/files", files=files, data=FOLDER)).json()
    await api.post("/files", files=files, data={"folderId": "others"})

    seen: list[str] = []
    query: dict[str, Any] = {**FOLDER, "parsing": "queued", "limit": 2}
    while True:
        page = (await api.get("/files", params=query)).json()
        seen += [file["filename"] for file in page["files"]]
        if page["before"] is None:
            break
        query["before"] = page["before"]
    assert seen == ["4.txt", "3.txt", "2.txt", "1.txt", "0.txt"]
    assert (await api.get("/files", params={"parsing": "parsed"})).json() == {"files": [], "before": None}
    assert told["files"][0]["filename"] == "0.txt"


async def test_contents_come_back_as_they_were(api: httpx.AsyncClient) -> None:
    contents = bytes(range(256)) * 8000
    upload = {"file": ("name.html", contents, "text/html")}
    told = (await api.post("/files", files=upload, data=FOLDER)).json()
    content = await api.get(f"/files/{told['id']}/content")
    assert content.content == contents
    assert content.headers["content-length"] == str(len(contents))
    assert content.headers["content-type"] == "text/html"


@pytest.mark.parametrize("path", ["/files/{}", "/files/{}/content", "/outbox/messages/{}"])
async def test_what_is_not_there(path: str, api: httpx.AsyncClient) -> None:
    answer = await api.get(path.format(NOBODY))
    assert answer.status_code == 404
    assert NOBODY in answer.json()["detail"]
    answer = await api.get(path.format("nonsense"))
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/nowhere", 404, None),
        ("DELETE", "/files", 405, "GET, HEAD, POST"),
        ("GET", "/files/reparse", 405, "PUT"),
    ],
)
async def test_every_error_is_a_problem(
    method: str, path: str, status: int, allowed: str | None, api: httpx.AsyncClient
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["instance"] == path
    assert answer.headers.get("allow") == allowed


async def test_the_queue_is_what_redis_has(api: httpx.AsyncClient, redis: Redis, redis_server: RedisServer) -> None:
    empty = {"length": 0, "undelivered": 0, "unacknowledged": 0}
    place = {"key": "file_parsing_queue", "prefix": "", "refused": None}
    assert (await api.get("/queue")).json() == {"file_parsing_queue": empty | place}
    await redis.xadd("file_parsing_queue", {"file_id": "1"})
    assert (await api.get("/queue")).json()["file_parsing_queue"]["length"] == 1

    redis_server.stop()
    answer = await api.get("/queue")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["title"] == "Server unreachable"
    assert "127.0.0.1" not in answer.text


async def test_the_queue_says_where_it_is_and_whose(
    db: Database, serve: Serve, redis: Redis, outbox_settings: OutboxSettings
) -> None:
    await db[STREAMS].update_many({}, {"$set": {"prefix": "staging:"}})
    api = await serve(outbox_settings.model_copy(update={"outbox_redis_prefix": "staging:"}))
    queue = (await api.get("/queue")).json()["file_parsing_queue"]
    assert (queue["key"], queue["prefix"], queue["refused"]) == ("staging:file_parsing_queue", "staging:", None)
    await redis.hset("{staging:file_parsing_queue}:outbox:stream", mapping={"outbox": "f" * 32, "database": "live"})
    refused = (await api.get("/queue")).json()["file_parsing_queue"]["refused"]
    assert "belongs to outbox ffffffff" in refused
    assert "outbox init --adopt-streams" in refused


async def test_stats(api: httpx.AsyncClient, redis_server: RedisServer) -> None:
    await api.post("/files", files={"file": ("a.txt", b"x")}, data=FOLDER)
    told = (await api.get("/outbox/stats")).json()
    assert told["messages"] == {"scheduled": 0, "pending": 1, "published": 0, "completed": 0, "dead": 0}
    assert told["oldest_pending_seconds"] >= 0
    assert len([one for one in told["partitions"] if one["stream"] == "file_parsing_queue"]) == 4
    assert told["streams"]["file_parsing_queue"]["length"] == 0

    redis_server.stop()
    told = (await api.get("/outbox/stats")).json()
    assert told["messages"]["pending"] == 1
    assert told["redis"]["reachable"] is False


async def test_messages_are_listed_and_found(api: httpx.AsyncClient, db: Database) -> None:
    shelf = Shelf(db)
    pending = await shelf.put(State.PENDING, 3)
    (dead,) = await shelf.put(State.DEAD)
    await shelf.put(State.PUBLISHED, key="mine")

    async def ids(**query: Any) -> list[str]:
        return [message["id"] for message in (await api.get("/outbox/messages", params=query)).json()["messages"]]

    assert len(await ids()) == 5
    assert await ids(state="dead") == [str(dead)]
    assert await ids(state="pending", limit=2) == [str(pending[2]), str(pending[1])]
    assert await ids(state="pending", before=str(pending[1])) == [str(pending[0])]
    assert len(await ids(key="mine")) == 1
    assert await ids(stream="nothing") == []

    message = (await api.get(f"/outbox/messages/{dead}")).json()
    assert message["state"] == "dead"
    assert message["last_error"] == "cannot be sent"
    assert message["fields"]["file_id"] == message["key"]


async def test_a_message_written_around_the_library_can_be_seen(api: httpx.AsyncClient, db: Database) -> None:
    broken = {"_id": ObjectId(), "fields": {"a": b"\xff", "b": float("nan")}, "state": "?"}
    await db.outbox.insert_one(broken, bypass_document_validation=True)
    answer = await api.get(f"/outbox/messages/{broken['_id']}")
    assert answer.status_code == 200
    assert (await api.get("/outbox/messages")).status_code == 200


async def test_a_dead_message_can_be_retried_once(api: httpx.AsyncClient, db: Database) -> None:
    shelf = Shelf(db)
    key = await shelf.put_file("error: broken")
    (dead,) = await shelf.put(State.DEAD, key=key)

    answer = await api.post(f"/outbox/messages/{dead}/retry")
    assert answer.status_code == 200
    assert answer.json()["state"] == "pending"
    assert (await api.get(f"/files/{key}")).json()["parsing"] == "queued"
    answer = await api.post(f"/outbox/messages/{dead}/retry")
    assert answer.status_code == 409
    assert "pending" in answer.json()["detail"]
    assert (await api.post(f"/outbox/messages/{NOBODY}/retry")).status_code == 404


async def test_metrics_count_by_route(api: httpx.AsyncClient) -> None:
    await api.get(f"/files/{NOBODY}")
    await api.get("/nowhere/at/all")
    text = (await api.get("/metrics")).text
    assert 'api_requests_total{method="GET",route="/files/{file_id}",status="404"} 1.0' in text
    assert 'api_requests_total{method="none",route="none",status="404"} 1.0' in text
    assert NOBODY not in text


async def test_a_method_that_a_client_makes_up_is_no_label(serve: Serve, db: Database) -> None:
    """Nor with a key, nor without."""
    api = await serve(**SHARED)
    for number in range(3):
        for headers in ({}, bearer(ALICE)):
            for path in ("/files", f"/files/{NOBODY}", "/dashboard/login", "/dashboard/static/live.js"):
                made_up = await api.request(f"MADEUP{number}", path, headers=headers)
                assert made_up.status_code == 405
    await api.request("OPTIONS", "/files")
    text = (await api.get("/metrics", headers=bearer(ALICE))).text
    assert "MADEUP" not in text
    assert 'api_requests_total{method="none",route="/files",status="405"} 6.0' in text
    assert 'api_requests_total{method="OPTIONS",route="/files",status="405"} 1.0' in text


async def test_live_asks_nobody(serve: Serve, db: Database) -> None:
    assert (await (await serve()).get("/health/live")).json() == {"status": "live"}


ODD: list[Any] = ["contract.pdf", "f" * 24, 7, {"year": 2019, "number": 1}, b"\xff"]
"""Ids of files of before the outbox."""


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 6, 8, 500])
@pytest.mark.parametrize("query", [{}, {"folderId": "f"}, {"parsing": "parsed"}, {"parsing": "error"}])
async def test_every_file_is_on_a_page_whatever_its_id(
    api: httpx.AsyncClient, db: Database, limit: int, query: dict[str, str]
) -> None:
    ids = [*ODD, *[ObjectId() for _ in range(4)]]
    parsing = "error: no" if query.get("parsing") == "error" else "parsed"
    await db.files.insert_many([{"_id": id_, "parsing": parsing, "folder_id": "f"} for id_ in ids])
    seen: list[str] = []
    before: str | None = ""
    while before is not None:
        answer = await api.get("/files", params={**query, "limit": limit, **({"before": before} if before else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["files"]) <= limit
        seen += [file["id"] for file in page["files"]]
        before = page["before"]
    assert len(seen) == len(set(seen))
    assert seen[-4:] == sorted(map(str, ids[-4:]), reverse=True)
    assert len(seen[:-4]) == min(limit, len(ODD)), "the first page holds so many of them"
    assert set(seen[:-4]) <= set(map(str, ODD))


async def test_a_file_of_another_program_is_read_by_what_gridfs_says(api: httpx.AsyncClient, db: Database) -> None:
    told = (await api.post("/files", files={"file": ("a.txt", b"contents")}, data=FOLDER)).json()
    file = {"_id": ObjectId(told["id"])}
    theirs = {"size": "", "sha256": "", "begun_by": "", "version": ""}
    for parsing, length in (("queued", 8), ("parsed", 8.0), (7, 8)):
        await db.files.update_one(file, {"$unset": theirs, "$set": {"parsing": parsing}})
        await db["fs.files"].update_one(file, {"$set": {"length": length}})
        answer = await api.get(f"/files/{told['id']}/content")
        assert (answer.status_code, answer.content) == (200, b"contents"), parsing
        assert answer.headers["content-length"] == "8"

    for unknown in (True, False, -1, 1e9):  # and what is known counts
        await db.files.update_one(file, {"$set": {"size": unknown, "version": unknown}})
        answer = await api.get(f"/files/{told['id']}/content")
        assert (answer.status_code, answer.content) == (200, b"contents"), unknown
        record = (await api.get(f"/files/{told['id']}")).json()
        assert (record["size"], record["version"]) == (None, 0), unknown
    for odd in ("eight", True, -8, 1e300, float("nan")):
        await db["fs.files"].update_one(file, {"$set": {"length": odd}})
        assert (await api.get(f"/files/{told['id']}/content")).status_code == 404, odd
    await db["fs.files"].delete_one(file)
    answer = await api.get(f"/files/{told['id']}/content")
    assert (answer.status_code, answer.json()["title"]) == (404, "No such file")

    await db.files.update_one(file, {"$set": {"parsing": "uploading"}})
    answer = await api.get(f"/files/{told['id']}/content")
    assert (answer.status_code, answer.json()["title"]) == (409, "Still uploading")

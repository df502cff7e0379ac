"""What is asked for belongs to who asked for it, and is on record, or is not done."""

from __future__ import annotations

import re
from typing import Any

import bson
import httpx
import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, PyMongoError

from outbox.append import Outbox
from outbox.database import Database
from outbox.message.document import State
from outbox.operations import audit, jobs, replay
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings
from outbox.web import keys
from outbox.web.keys import Scope
from outbox_api.uploads.migration import Migration
from outbox_api.uploads.reparse import reparse
from tests.api.callers import ALICE, ALICES, BOB, BOBS, SHARED, bearer
from tests.api.conftest import Serve
from tests.outbox.shelf import Shelf


async def test_an_idempotency_key_belongs_to_its_caller(db: Database, serve: Serve) -> None:
    again_secret, again = keys.make("alice", [Scope.UPLOAD])  # her next key, while the old one is still valid
    api = await serve(api_keys=f"{ALICES.line} {BOBS.line} {again.line}")

    async def upload(secret: str, contents: bytes) -> httpx.Response:
        headers = bearer(secret, **{"Idempotency-Key": "1"})
        return await api.post("/files", files={"file": ("a", contents)}, data={"folderId": "f"}, headers=headers)

    first = await upload(ALICE, b"secret")
    same, other = await upload(BOB, b"secret"), await upload(BOB, b"secret")
    assert (first.status_code, same.status_code) == (201, 201)
    assert "idempotent-replayed" not in same.headers, "it is told nothing of alice's"
    assert same.json()["id"] != first.json()["id"]
    assert other.json() == same.json()
    assert (await upload(again_secret, b"secret")).json() == first.json()
    assert (await upload(ALICE, b"other")).status_code == 422


async def test_the_name_of_a_replay_belongs_to_its_caller_and_each_is_on_record(db: Database, serve: Serve) -> None:
    await Shelf(db).put(State.PUBLISHED, 2)
    api = await serve(api_keys=f"{ALICES.line} {BOBS.line}")
    jobs_of: dict[str, str] = {}
    for secret in (ALICE, BOB):
        for _ in range(2):
            answer = await api.post(
                "/outbox/replay",
                json={"stream": "file_parsing_queue"},
                headers=bearer(secret, **{"Idempotency-Key": "1"}),
            )
            assert answer.status_code == 202
            assert answer.json()["request"] == "1"
            assert jobs_of.setdefault(secret, answer.json()["id"]) == answer.json()["id"]
    assert jobs_of[ALICE] != jobs_of[BOB]
    records = await db.outbox_audit.find({"action": "replay"}).to_list()
    assert sorted(record["who"] for record in records) == ["alice", "bob"]


async def test_who_asks_again_by_the_command_line_is_on_record(db: Database) -> None:
    await Shelf(db).put(State.PUBLISHED)
    selection = replay.Selection(stream="file_parsing_queue")
    asked = [await jobs.create(db, selection, who=who, rate=1, request="r", owner="command-line") for who in "aab"]
    assert len({job.id for job in asked}) == 1
    told = [(record.who, record.action) for record in (await audit.page(db)).records]
    assert told == [("b", "replay asked for again"), ("a", "replay")]


async def test_a_single_replay_and_its_record_are_one_transaction(db: Database, serve: Serve) -> None:
    (message,) = await Shelf(db).put(State.PUBLISHED)
    assert await replay.one(db, message, who="alice")
    assert (await Shelf(db).get(message))["state"] == "pending"
    assert not await replay.one(db, message, who="alice"), "it is pending already"
    assert not await replay.one(db, ObjectId(), who="alice")
    (record,) = await db.outbox_audit.find().to_list()
    assert (record["who"], record["action"], record["details"]) == ("alice", "replay", {"message": message})


async def test_a_single_replay_that_does_not_happen_is_not_on_record(db: Database) -> None:
    """MongoDB loses the replay after it was put on record, and before its commit."""
    (message,) = await Shelf(db).put(State.PUBLISHED)
    failed = False

    async def fail(*arguments: Any, **options: Any) -> None:
        nonlocal failed
        await record(*arguments, **options)
        if not failed:
            failed = True
            raise AutoReconnect("the connection is gone")

    record = audit.record
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "record", fail)
        with pytest.raises(AutoReconnect):
            await replay.one(db, message, who="alice")
    assert (await Shelf(db).get(message))["state"] == "published"
    assert await db.outbox_audit.count_documents({}) == 0


async def act(what: str, db: Database, api: httpx.AsyncClient, settings: OutboxSettings) -> None:
    """Each thing that an operator can do, by HTTP, on the dashboard, or in a terminal."""
    streams = settings.streams
    dead, published = (await Shelf(db).put(State.DEAD))[0], (await Shelf(db).put(State.PUBLISHED))[0]
    file = (await db.files.insert_one({"parsing": "parsed", "folder_id": "f", "version": 1})).inserted_id
    await db.files.insert_one({"parsing": "parsing start", "folder_id": "f"})
    job = await jobs.create(db, replay.Selection(ids=(published,)), who="x", rate=1)
    await db.outbox_audit.delete_many({})
    if what.startswith("dashboard"):
        await api.post("/dashboard/login", data={"key": ALICE})
        page = (await api.get(f"/dashboard/messages/{dead}")).text
        token = re.findall(r'name="token" value="(\w+)"', page)[0]
        form = {"token": token, "stream": "file_parsing_queue", "before": "now"}
    outbox = Outbox(streams, database=db.name)
    await db.command("collMod", "outbox_audit", validator={"who": "nobody"})  # what MongoDB refuses to put on record
    path = "/outbox/messages" if what.startswith("http") else "/dashboard/messages"
    match what:
        case "http retry" | "http replay" | "http cancel":
            paths: dict[str, tuple[str, Any]] = {
                "http retry": (f"{path}/{dead}/retry", None),
                "http replay": ("/outbox/replay", {"ids": [str(published)]}),
                "http cancel": (f"/outbox/replays/{job.id}/cancel", None),
            }  # fmt: skip
            answer = await api.post(paths[what][0], json=paths[what][1], headers=bearer(ALICE))
            assert answer.json()["type"] == "urn:outbox:write-refused"
        case "dashboard retry" | "dashboard discard":
            assert (await api.post(f"{path}/{dead}/{what.split()[1]}", data=form)).status_code >= 500
        case "dashboard replay":
            assert (await api.post(f"{path}/{published}/replay", data=form)).status_code >= 500
        case "dashboard replays":
            assert (await api.post("/dashboard/replay", data=form)).status_code >= 500
        case "dashboard cancel":
            assert (await api.post(f"/dashboard/replays/{job.id}/cancel", data=form)).status_code >= 500
        case "enqueue":
            with pytest.raises(PyMongoError):
                await reparse(db, outbox, [file], who="x")
        case "migrate":
            async with connect_redis(settings) as redis:
                with pytest.raises(PyMongoError):
                    await Migration(db, redis, streams).run(who="x")
        case _:
            raise AssertionError(what)


@pytest.mark.parametrize(
    "what",
    ["http retry", "http replay", "http cancel", "dashboard retry", "dashboard discard", "dashboard replay",
     "dashboard replays", "dashboard cancel", "enqueue", "migrate"],
)  # fmt: skip
async def test_what_cannot_be_put_on_record_is_not_done(
    what: str, db: Database, serve: Serve, outbox_settings: OutboxSettings
) -> None:
    api = await serve(**SHARED)
    try:
        await act(what, db, api, outbox_settings)
    finally:
        await db.command("collMod", "outbox_audit", validator={})
    assert await db.outbox.count_documents({}) == 2
    assert sorted([m["state"] async for m in db.outbox.find()]) == ["dead", "published"]
    assert [(j["phase"], j["open"]) async for j in db.outbox_jobs.find()] == [("waiting", True)]
    assert sorted([f["parsing"] async for f in db.files.find({"folder_id": "f"})]) == ["parsed", "parsing start"]


async def test_ten_thousand_ids_are_shown_as_their_number(db: Database, serve: Serve) -> None:
    ids = [str(ObjectId()) for _ in range(9_999)]
    api = await serve(**SHARED)
    answer = await api.post("/outbox/replay", json={"ids": ids}, headers=bearer(ALICE))
    assert answer.status_code == 202
    job = answer.json()["id"]
    (record,) = await db.outbox_audit.find().to_list()
    assert len(bson.encode(record)) < 2_000
    assert record["details"]["selection"]["ids_count"] == 9_999
    await api.post("/dashboard/login", data={"key": ALICE})
    for path in ("/outbox/replays", f"/outbox/replays/{job}", "/outbox/audit", "/dashboard", "/dashboard/audit",
                 f"/dashboard/replays/{job}"):  # fmt: skip
        shown = await api.get(path, headers=bearer(ALICE))
        assert shown.status_code == 200
        assert len(shown.content) < 30_000, path
        assert ids[19] in shown.text or path == "/dashboard", path
        assert ids[20] not in shown.text, path
    selection = (await api.get("/outbox/replays", headers=bearer(ALICE))).json()["replays"][0]["selection"]
    assert (len(selection["ids"]), selection["ids_count"]) == (20, 9_999)
    (latest,) = await jobs.latest(db)
    assert len(latest.selection.ids) == 20, "so much is read for every look"
    assert len((await jobs.find(db, ObjectId(job))).selection.ids) == 9_999, "and all of them are replayed"

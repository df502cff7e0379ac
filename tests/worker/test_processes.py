"""Relay and workers as processes: killed at random, stopped, and beside workers that know nothing of the outbox."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from gridfs import AsyncGridFSBucket
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from redis.asyncio import Redis

from outbox.database import CONTENTS, Document
from outbox.draft import Draft
from outbox.operations import pausing
from outbox.servers.clock import server_time
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.api.serving import Api
from tests.relay.processes import RelayProcess
from tests.relay.world import World, a_world
from tests.waiting import PATIENCE, eventually, eventually_sync
from tests.worker.handlers import KINDS
from tests.worker.processes import LegacyProcess, WorkerProcess, running

TRIES = 3
QUICK_RETRIES = {"base_seconds": 0.2, "cap_seconds": 1.0}
RESCUE_SECONDS = 3.0


@pytest.fixture
def tries() -> int:
    return TRIES


@pytest.fixture
def rescue_seconds() -> float:
    return RESCUE_SECONDS


@pytest.fixture
def settings(mongodb_uri: str, database: str, redis_url: str, tries: int, rescue_seconds: float) -> OutboxSettings:
    declared = {
        "name": FILE_STREAM, "group": FILE_GROUP, "partitions": 2, "retry": {**QUICK_RETRIES, "attempts": tries},
        "rescue_seconds": rescue_seconds, "subject": {"collection": "files", "field": "parsing", "wanted": "queued"},
    }  # fmt: skip
    return load(
        OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url,
        outbox_streams=[declared],
    )  # fmt: skip


@pytest.fixture
def environment(settings: OutboxSettings) -> dict[str, str]:
    return {
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(),
        "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": settings.redis_dsn,
        "OUTBOX_STREAMS": json.dumps([setting.model_dump() for setting in settings.outbox_streams]),
    }


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], settings: OutboxSettings, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, settings.mongodb_database, redis, settings.streams.values()) as made:
        yield made


async def append_many(world: World, count: int) -> None:
    for _ in range(0, count, 100):
        files = [{"_id": ObjectId(), "parsing": "queued", "filename": "a.txt"} for _ in range(min(100, count))]

        async def body(session: AsyncClientSession, files: Sequence[Any] = files) -> None:
            await world.database.files.insert_many(files, session=session)
            drafts = [
                Draft(_fields(key, number), key, unique=None if number % 20 else key)
                for number, key in enumerate(str(file["_id"]) for file in files)
            ]
            await world.outbox.append_many(session, FILE_STREAM, drafts)
            again = [replace(draft, id=ObjectId()) for draft in drafts if draft.unique]
            ids = await world.outbox.append_many(session, FILE_STREAM, again)
            assert ids == [draft.id for draft in drafts if draft.unique]

        async with world.client.start_session() as session:
            await session.with_transaction(body)


def _fields(key: str, number: int) -> dict[str, str]:
    """Every kind of message, one after the other, and now and then a bad one in a batch."""
    kind = KINDS[number % len(KINDS)]
    return {"file_id": key, "kind": kind, "filename": "bad" if number % 25 == 2 else "a.txt"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "tries", [20]
)  # each kill costs what is in flight a try, and chance may choose one of them often
@pytest.mark.parametrize(
    ("count", "handler", "kills"),
    [
        pytest.param(300, "every_feature", 4, marks=pytest.mark.slow),
        (100, "effect_plain", 2),
        pytest.param(5000, "every_feature", 40, marks=pytest.mark.slow),
    ],
)
async def test_workers_are_killed_at_random_and_each_effect_is_there_once(
    count: int, handler: str, kills: int, world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    database = world.database
    options = ("--silent-seconds", "2", "--concurrency", "5")
    workers = [WorkerProcess(tmp_path / f"worker-{n}.log", environment, handler, *options) for n in range(3)]
    relay = RelayProcess(tmp_path / "relay.log", environment)
    dice, began = random.Random(count), time.monotonic()
    await append_many(world, count)
    with running(relay, *workers):

        async def reached(some: int) -> bool:
            return await database.outbox.count_documents({"state": "completed"}) >= some

        for kill in range(kills):
            await eventually(partial(reached, (kill + 1) * count // (kills + 2)), 120)
            pause = kill % 2 == 1 and await pausing.pause(database, FILE_STREAM, who="anna")
            victim = dice.choice(workers)
            victim.kill()
            victim.start()
            if pause:
                await eventually(partial(relay.told, "stream paused"), 20)
                await pausing.resume(database, FILE_STREAM, who="anna")
        await eventually(partial(reached, count), 120)
    print(f"\n{count} messages, {kills} kills, {time.monotonic() - began:.0f} s")
    effects = [effect["message"] async for effect in database.effects.find()]
    assert len(effects) == len(set(effects)) == count
    assert await database.files.count_documents({"effects": 1, "parsing": "parsed"}) == count


async def test_a_legacy_worker_that_is_killed_with_50_entries_loses_none(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is told by anybody: the next worker reads new entries only, and gets all of them."""
    bucket = AsyncGridFSBucket(world.database, CONTENTS)
    keys = [ObjectId() for _ in range(50)]
    for key in keys:
        await bucket.upload_from_stream_with_id(key, "a.txt", b"some text")
    await world.append(*map(str, keys))
    first = LegacyProcess(tmp_path / "first.log", environment, "worker-1", count=50, stuck=True)
    second = LegacyProcess(tmp_path / "second.log", environment, "worker-2")

    async def held() -> bool:
        """Or was held: how long it may be is limited."""
        [group] = await world.redis.xinfo_groups(FILE_STREAM)
        return bool(group["entries-read"] == 50)

    async def parsed() -> bool:
        return await world.database.files.count_documents({"parsing": "parsed"}) == 50

    async def published() -> bool:
        return await world.database.outbox.count_documents({"state": "published"}) == 50

    with running(RelayProcess(tmp_path / "relay.log", environment)):
        await eventually(published, 30)
        with running(first):  # it gets all of them by its first read
            await eventually(held, 30)
        killed = time.monotonic()
        with running(second):
            await eventually(parsed, RESCUE_SECONDS * 2 + 20)
        print(f"\nall parsed {time.monotonic() - killed:.1f} s after the kill; the limit is {RESCUE_SECONDS:g} s")
    attempts = [message["attempts"] async for message in world.database.outbox.find()]
    assert len(attempts) == 50
    assert min(attempts) == 2, "each again, and again once more where the second is kept from its work for too long"


async def test_a_message_is_kept_back_until_its_time(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    key, outbox = str(ObjectId()), world.database.outbox
    relay = RelayProcess(tmp_path / "relay.log", environment)
    worker = WorkerProcess(tmp_path / "worker.log", environment, "effect")

    async def completed() -> Document | None:
        return await outbox.find_one({"_id": id_, "state": "completed"})

    with running(relay, worker):
        relay.started()
        worker.started()
        due = await server_time(world.database) + timedelta(seconds=4)
        async with world.client.start_session() as session, await session.start_transaction():
            await world.database.files.insert_one({"_id": ObjectId(key), "parsing": "queued"}, session=session)
            id_ = await world.outbox.append(session, FILE_STREAM, {"file_id": key}, key=key, available_at=due)
            appended = await outbox.find_one({"_id": id_}, session=session)
            assert appended
            assert appended["state"] == "scheduled"
        message = await eventually(completed, 30)
        assert message
    assert message["published_at"] >= due
    assert message["published_at"] < due + timedelta(seconds=20 * PATIENCE)


@pytest.mark.parametrize("rescue_seconds", [300.0])  # a rescue would be one more attempt
async def test_what_fails_is_seen_through_cli_and_http(
    world: World, settings: OutboxSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    api = Api(tmp_path, settings, OUTBOX_STREAMS=environment["OUTBOX_STREAMS"])
    worker = WorkerProcess(tmp_path / "worker.log", environment, "moody")
    names = ["fails-twice", "always-fails", "gives-up", "comes-later"]
    with (
        running(RelayProcess(tmp_path / "relay.log", environment), worker),
        api,
        httpx.Client(base_url=api.url, timeout=60) as http,
    ):
        uploads = {}
        for name in names:
            answer = http.post("/files", files={"file": (name, b"text")}, data={"folderId": "f"})
            assert answer.status_code == 201, answer.text
            uploads[name] = answer.json()["id"]

        def message(name: str) -> Document:
            [found] = http.get("/outbox/messages", params={"key": uploads[name]}).json()["messages"]
            return dict(found)

        def parsing(name: str) -> str:
            return str(http.get(f"/files/{uploads[name]}").json()["parsing"])

        states = {"fails-twice": "completed", "always-fails": "dead", "gives-up": "dead", "comes-later": "completed"}
        eventually_sync(lambda: {name: message(name)["state"] for name in names} == states, 40, every=0.2)
        assert {name: message(name)["attempts"] for name in names} == {
            "fails-twice": 3, "always-fails": 3, "gives-up": 1, "comes-later": 2,
        }  # fmt: skip
        assert {name: parsing(name) for name in names} == {
            "fails-twice": "parsed", "always-fails": "error: no luck, ever", "gives-up": "error: nobody can read this",
            "comes-later": "parsed",
        }  # fmt: skip
        assert "ValueError: no luck at attempt 2" in message("fails-twice")["last_error"]
        assert "in moody" in message("always-fails")["last_error"]

        def command(*words: str) -> Document:
            program = [sys.executable, "-m", "outbox", *words, "--json"]
            told = subprocess.run(
                program, env={**os.environ, **environment}, capture_output=True, check=True, timeout=60
            )
            return dict(json.loads(told.stdout))

        assert command("status")["messages"] == {
            "scheduled": 0, "pending": 0, "published": 0, "completed": 2, "dead": 2,
        }  # fmt: skip
        shown = command("dead", "show", message("gives-up")["id"])
        assert (shown["state"], shown["attempts"], shown["key"]) == ("dead", 1, uploads["gives-up"])
        assert "nobody can read this" in shown["last_error"]

        # An operator retries: three tries again, and the file waits meanwhile.
        retried = http.post(f"/outbox/messages/{message('always-fails')['id']}/retry")
        assert retried.is_success, retried.text
        eventually_sync(lambda: message("always-fails")["attempts"] == 6, 40, every=0.2)
        eventually_sync(lambda: message("always-fails")["state"] == "dead", 20)
        assert parsing("always-fails") == "error: no luck, ever"
    effects = {file["filename"]: file.get("effects", 0) async for file in world.database.files.find()}
    assert effects == {"fails-twice": 1, "always-fails": 0, "gives-up": 0, "comes-later": 1}

"""A message that kills its process takes nobody with it, and is dead after its tries."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.relay.processes import RelayProcess
from tests.relay.world import World, a_world
from tests.waiting import eventually
from tests.worker.processes import WorkerProcess, running

TRIES = 3


@pytest.fixture
def settings(mongodb_uri: str, database: str, redis_url: str, rescue_seconds: float) -> OutboxSettings:
    declared = {
        "name": FILE_STREAM, "group": FILE_GROUP, "partitions": 2, "rescue_seconds": rescue_seconds,
        "retry": {"attempts": TRIES, "base_seconds": 0.2, "cap_seconds": 1.0},
        "subject": {"collection": "files", "field": "parsing", "wanted": "queued"},
    }  # fmt: skip
    return load(
        OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url,
        outbox_streams=[declared],
    )  # fmt: skip


@pytest.fixture
def rescue_seconds() -> float:
    return 300.0


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


class Supervised:
    """Workers that a supervisor starts again each time that they end."""

    def __init__(self, *workers: WorkerProcess) -> None:
        self._workers = workers
        self.ended = 0

    def look(self) -> None:
        for worker in self._workers:
            if worker.has_ended():
                self.ended += 1
                worker.start()


async def append(world: World, *names: str) -> dict[str, ObjectId]:
    """A file and a message for each name; returns the files' ids."""
    ids = {name: ObjectId() for name in names}
    async with world.client.start_session() as session, await session.start_transaction():
        for name, id_ in ids.items():
            await world.database.files.insert_one(
                {"_id": id_, "parsing": "queued", "filename": name}, session=session
            )  # fmt: skip
            fields = {"file_id": str(id_), "filename": name}
            await world.outbox.append(session, FILE_STREAM, fields, key=str(id_))
    return ids


async def settled(world: World, supervised: Supervised) -> bool:
    supervised.look()
    return not await world.database.files.count_documents({"parsing": "queued"})


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("handler", "workers", "name", "rescue_seconds"),
    [
        pytest.param("killer", 1, None, 300.0, marks=pytest.mark.slow),
        ("killer_plain", 2, None, 300.0),
        pytest.param("killer", 1, "same", 300.0, marks=pytest.mark.slow),
        pytest.param("killer", 2, None, 1.0, marks=pytest.mark.slow),
    ],
    ids=["killed", "segmentation fault", "the same name again", "rescued by a relay before"],
)
async def test_it_is_dead_after_its_tries_and_the_others_are_handled(
    handler: str, workers: int, name: str | None, world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    ids = await append(world, *(f"good {n}" for n in range(6)), "killer", *(f"good {n}" for n in range(6, 9)))
    options = ["--silent-seconds", "2", *(["--consumer", name] if name else [])]
    processes = [WorkerProcess(tmp_path / f"worker-{n}.log", environment, handler, *options) for n in range(workers)]
    supervised = Supervised(*processes)
    with running(RelayProcess(tmp_path / "relay.log", environment), *processes):
        await eventually(lambda: settled(world, supervised), 120, every=0.1)
    files = {file["filename"]: file async for file in world.database.files.find()}
    assert {files[name]["parsing"] for name in ids if name != "killer"} == {"parsed"}
    assert {files[name]["effects"] for name in ids if name != "killer"} == {1}
    assert supervised.ended == TRIES
    message = await world.database.outbox.find_one({"key": str(ids["killer"])})
    assert message
    assert message["state"] == "dead"
    assert await world.database.outbox.count_documents({"state": "completed"}) == 9
    calls = [call["process"] async for call in world.database.calls.find({"key": str(ids["killer"])})]
    assert len(calls) == TRIES
    assert files["killer"]["parsing"].startswith("error: given up after 3 ")
    if not name:
        assert all(f"-{process}-" in message["last_error"] for process in calls[-1:])

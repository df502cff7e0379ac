"""The demonstration worker on real servers: it parses, it waits through outages, it forgets nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from gridfs import GridFSBucket
from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis

from outbox.embedded import Mongod, RedisServer
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from outbox_api.demonstration.worker import Worker, connect
from tests.waiting import eventually_sync

Document = dict[str, Any]


@pytest.fixture
def db(mongod: Mongod, database: str) -> Iterator[Database[Document]]:
    with MongoClient[Document](mongod.uri) as client:
        yield client[database]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that this test may kill, with the group that the relay would make."""
    with RedisServer(tmp_path, options={"appendfsync": "always"}) as server:
        with server.client() as client:
            client.xgroup_create(FILE_STREAM, FILE_GROUP, id="0", mkstream=True)
        yield server


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[Redis]:
    with own_redis.client() as client:
        yield client


@pytest.fixture
def settings(mongod: Mongod, database: str, own_redis: RedisServer) -> OutboxSettings:
    return load(OutboxSettings, mongodb_uri=mongod.uri, mongodb_database=database, redis_url=own_redis.url)


@contextmanager
def working(settings: OutboxSettings) -> Iterator[Worker]:
    mongo, redis = connect(settings)
    worker = Worker(mongo, redis, settings, "demo-1")
    thread = threading.Thread(target=worker.run)
    with mongo, redis:
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            thread.join(20)
    assert not thread.is_alive()


def upload(db: Database[Document], contents: bytes | None) -> ObjectId:
    file_id = ObjectId()
    if contents is not None:
        GridFSBucket(db, "fs").upload_from_stream_with_id(file_id, "a.txt", contents)
    db.files.insert_one({"_id": file_id, "filename": "a.txt", "parsing": "queued"})
    return file_id


def announce(client: Redis, file_id: ObjectId | str) -> str:
    fields: dict[Any, Any] = {"file_id": str(file_id), "filename": "a.txt", "folder_id": "f", "attempt": "1"}
    return str(client.xadd(FILE_STREAM, fields))


def record(db: Database[Document], file_id: ObjectId) -> Document:
    found = db.files.find_one({"_id": file_id})
    assert found
    return found


def status(db: Database[Document], file_id: ObjectId) -> Callable[[], str]:
    return lambda: str(record(db, file_id)["parsing"]).replace("queued", "")


def unacknowledged(client: Redis) -> int:
    return int(client.xpending(FILE_STREAM, FILE_GROUP)["pending"])


def test_it_parses_and_acknowledges(db: Database[Document], client: Redis, settings: OutboxSettings) -> None:
    file_id = upload(db, b"one two\n")
    announce(client, file_id)
    with working(settings):
        eventually_sync(status(db, file_id))
        eventually_sync(lambda: unacknowledged(client) == 0)
    found = record(db, file_id)
    assert found["parsing"] == "parsed"
    assert found["parsed"] == {
        "kind": "text", "size": 8, "encoding": "utf-8", "lines": 1, "words": 2, "characters": 8,
    }  # fmt: skip
    assert found["updated_at"]


@pytest.mark.parametrize(
    ("contents", "expected"),
    [(None, "error: contents cannot be read: no file"), (b"GIF89a", "error: the gif header is cut off")],
)
def test_what_cannot_be_parsed_ends_as_an_error(
    db: Database[Document], client: Redis, settings: OutboxSettings, contents: bytes | None, expected: str
) -> None:
    file_id = upload(db, contents)
    announce(client, file_id)
    with working(settings):
        assert eventually_sync(status(db, file_id)).startswith(expected)


def test_entries_without_a_file_are_acknowledged(
    db: Database[Document], client: Redis, settings: OutboxSettings
) -> None:
    announce(client, "not an id")
    announce(client, ObjectId())
    client.xreadgroup(FILE_GROUP, "demo-1", {FILE_STREAM: ">"})
    client.xdel(FILE_STREAM, announce(client, upload(db, b"trimmed")))
    file_id = upload(db, b"text")
    announce(client, file_id)
    with working(settings):
        eventually_sync(status(db, file_id))
        eventually_sync(lambda: unacknowledged(client) == 0)


def test_what_it_had_before_a_crash_comes_first(
    db: Database[Document], client: Redis, settings: OutboxSettings
) -> None:
    file_ids = [upload(db, b"text") for _ in range(25)]
    for file_id in file_ids[:15]:
        announce(client, file_id)
    client.xreadgroup(FILE_GROUP, "demo-1", {FILE_STREAM: ">"})  # and then it is killed
    for file_id in file_ids[15:]:
        announce(client, file_id)
    with working(settings):
        eventually_sync(lambda: db.files.count_documents({"parsing": "parsed"}) == 25)
        eventually_sync(lambda: unacknowledged(client) == 0)


def test_it_waits_for_redis(
    db: Database[Document], own_redis: RedisServer, client: Redis, settings: OutboxSettings
) -> None:
    with working(settings):
        for crash in (own_redis.kill, own_redis.stop):
            crash()
            own_redis.start()
            file_id = upload(db, b"text")
            announce(client, file_id)
            eventually_sync(status(db, file_id))


def test_it_waits_for_mongo(tmp_path: Path, client: Redis, settings: OutboxSettings) -> None:
    with Mongod(tmp_path / "mongod") as mongod:
        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=settings.redis_dsn)
        with working(settings), MongoClient[Document](mongod.uri) as mongo:
            db = mongo[settings.mongodb_database]
            file_ids = [upload(db, b"text") for _ in range(3)]
            mongod.kill()
            for file_id in file_ids:
                announce(client, file_id)
            eventually_sync(lambda: unacknowledged(client) > 0)
            mongod.start()
            eventually_sync(lambda: db.files.count_documents({"parsing": "parsed"}) == 3, seconds=20)
            eventually_sync(lambda: unacknowledged(client) == 0)


def test_it_waits_for_the_group(db: Database[Document], client: Redis, settings: OutboxSettings) -> None:
    client.flushall()
    with working(settings):
        file_id = upload(db, b"text")
        announce(client, file_id)
        client.xgroup_create(FILE_STREAM, FILE_GROUP, id="0")
        eventually_sync(status(db, file_id))
        client.delete(FILE_STREAM)  # while it reads
        announce(client, second := upload(db, b"text"))
        client.xgroup_create(FILE_STREAM, FILE_GROUP, id="0")
        eventually_sync(status(db, second))


def test_it_stops_during_an_outage(own_redis: RedisServer, settings: OutboxSettings) -> None:
    own_redis.kill()
    with working(settings):
        pass


def test_as_a_program(db: Database[Document], client: Redis, settings: OutboxSettings, own_redis: RedisServer) -> None:
    environment = {
        **os.environ,
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(),
        "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": own_redis.url,
    }
    file_id = upload(db, b"text")
    announce(client, file_id)
    command = [sys.executable, "-m", "outbox_api.demonstration", "demo-2"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        eventually_sync(status(db, file_id))
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert "worker stopped" in output

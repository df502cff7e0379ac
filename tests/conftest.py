"""Real servers for every test that asks for one: started once per test process, never skipped.

OUTBOX_REDIS_SERVER and OUTBOX_MONGOD choose other server programs for the whole run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient, MongoClient
from redis import __version__ as redis_py
from redis.asyncio import Redis

from outbox.embedded import Mongod, RedisServer, ports
from outbox.message.collection import Part
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.servers.topology import FIRST_FOR_CLUSTERS
from outbox.settings import OutboxSettings, load
from outbox_api.collections import FILES_APPLICATION
from tests.databases import Databases

IN_MEMORY = Path("/dev/shm")
ENOUGH = 12 * 2**30
"""Bytes that must be free there: a whole run takes half of it, most for the oplogs and journals of its mongods."""

if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ENOUGH:
    # Each test has a database of its own, some fifty files, which takes twice as long to make on a disk.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


def pytest_configure() -> None:
    """Each test process picks ports of its own: that of a server which is down for a while stays free for it."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports.RANGE = ports.RANGE[mine::workers]


OF_CLUSTERS = {"test_all_topologies_have_such_connections", "test_an_address_that_leads_elsewhere"}
"""Beside those that have it in their names, or a cluster among their fixtures."""


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """The lowest redis-py that is allowed has no cluster that is good enough, and is refused with one."""
    if tuple(map(int, redis_py.split(".")[:2])) < FIRST_FOR_CLUSTERS:
        for item in items:
            if "cluster" in item.nodeid or "cluster" in item.fixturenames or item.originalname in OF_CLUSTERS:
                item.add_marker(pytest.mark.skip(f"redis-py {redis_py}: clusters are refused"))


@pytest.fixture(autouse=True)
def logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs in this process would leave all later tests a log that goes to its own, closed stderr."""
    monkeypatch.setattr("outbox.logs.configure", lambda _: None)


@pytest.fixture(autouse=True)
def garbage_is_looked_for_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a command that runs in this process, too."""
    monkeypatch.setattr("outbox.garbage.collect_seldom", lambda: None)


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod that is its own replica set, shared by all tests. One that hurts it takes its own instead."""
    # By default, a database is dropped at the next commit of the journal, every 100 ms, for which each test would wait,
    # and its files stay open for five minutes, so that there are too many in the end.
    options = ["--journalCommitInterval", "20", "--setParameter", "minSnapshotHistoryWindowInSeconds=10"]
    with Mongod(tmp_path_factory.mktemp("mongod"), extra_args=options) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Valkey or Redis, shared by all tests. One that kills it starts it again."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def mongodb_uri(mongod: Mongod) -> str:
    mongod.start()  # unless it runs: a test before may have failed half way
    return mongod.uri


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty Redis."""
    redis_server.start()
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


def abort_idle_transactions(client: MongoClient[dict[str, Any]]) -> None:
    """A killed process leaves its transaction open for a minute; until then, what it touched cannot be dropped."""
    with client.admin.aggregate([{"$currentOp": {"idleSessions": True}}]) as operations:
        left = [{"lsid": one["lsid"]} for one in operations if one["type"] == "idleSession" and "transaction" in one]
    if left:
        client.admin.command("killAllSessionsByPattern", left)


REUSED: dict[str, tuple[Part, ...]] = {"reused_with_files": (FILES_APPLICATION,), "reused": ()}
"""What else than an outbox is set up, by the fixture that says that it is."""


@pytest.fixture(scope="session")
def databases() -> dict[tuple[Mongod, str], Databases]:
    """Of each mongod and kind, those that go from test to test."""
    return {}


@pytest.fixture
def reused() -> None:
    """Whoever asks for this sets `database` up as an outbox in any case: it may be that of a test before, emptied."""


@pytest.fixture
def reused_with_files() -> None:
    """The same with the collections of the files application."""


@pytest.fixture
def database(
    mongod: Mongod,
    mongodb_uri: str,
    databases: dict[tuple[Mongod, str], Databases],
    request: pytest.FixtureRequest,
) -> Iterator[str]:
    """The name of a database that this test has to itself: one that is new, unless a fixture asks for `reused`."""
    kind = next((kind for kind in REUSED if kind in request.fixturenames), None)
    if mongodb_uri != mongod.uri:
        kind = None  # this test has another mongod, in which nobody would empty it
    if kind and (mongod, kind) not in databases:
        databases[mongod, kind] = Databases(mongod, *REUSED[kind])
    spare = databases[mongod, kind] if kind else None
    name = spare.lend() if spare else f"test_{uuid4().hex[:12]}"
    yield name
    mongod.start()
    with mongod.client() as client:
        abort_idle_transactions(client)
        if spare:
            spare.take_back(client, name)
        else:
            client.drop_database(name)


@pytest.fixture
async def mongo(mongodb_uri: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """The product's own client: it reads and writes with the majority."""
    async with connect_mongo(load(OutboxSettings, mongodb_uri=mongodb_uri)) as client:
        yield client


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The product's own client, to an empty Redis: text, and no retries of its own."""
    async with connect_redis(load(OutboxSettings, redis_url=redis_url)) as client:
        yield cast(Redis, client)

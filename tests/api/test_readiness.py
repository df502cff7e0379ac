"""What it costs the servers that anybody may ask whether the API is ready."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from pymongo import AsyncMongoClient

from outbox.database import Database
from outbox.embedded import RedisServer
from outbox.message import schema
from outbox.settings import OutboxSettings, load
from outbox_api import readiness
from outbox_api.dashboard import sampler
from tests.api.conftest import Serve
from tests.waiting import eventually

MANY = [{"name": f"stream-{n}", "group": "g", "partitions": 4, "shards": 2} for n in range(20)]


async def _commands(mongo: AsyncMongoClient[Any], redis_server: RedisServer) -> tuple[Counter[str], Counter[str]]:
    """How many commands each of the two has carried out for others than for us."""
    counters: dict[str, Any] = (await mongo.admin.command("serverStatus"))["metrics"]["commands"]
    background = {"hello", "isMaster", "serverStatus", "replSetUpdatePosition", "saslStart", "endSessions"}
    mongodb = Counter({n: c["total"] for n, c in counters.items() if n not in background and "total" in (c or {})})
    with redis_server.client() as redis:
        stats: dict[str, Any] = redis.info("commandstats")
    return mongodb, Counter({name.removeprefix("cmdstat_"): told["calls"] for name, told in stats.items()})


@pytest.fixture
async def many(
    serve: Serve, db: Database, outbox_settings: OutboxSettings, monkeypatch: pytest.MonkeyPatch
) -> httpx.AsyncClient:
    """An application with 41 streams, and all the time that it needs on a busy machine. Nobody else in it looks."""
    monkeypatch.setattr(sampler, "ALONE_SECONDS", 3600)
    files = {"name": "file_parsing_queue", "group": "file_parsers", "partitions": 4, "subject": {}}
    settings = load(
        OutboxSettings,
        mongodb_uri=outbox_settings.mongodb_uri.get_secret_value(),
        redis_url=outbox_settings.redis_dsn,
        mongodb_database=outbox_settings.mongodb_database,
        outbox_streams=[files, *MANY],
    )
    await schema.ensure(db, settings.streams)
    api = await serve(settings, api_probe_seconds=60)
    assert (await api.get("/dashboard")).status_code == 200  # and so the dashboard's first look at the system is over
    return api


async def test_many_who_ask_cost_as_one(
    many: httpx.AsyncClient, mongo: AsyncMongoClient[Any], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "LOOK_SECONDS", 3600)
    before = await _commands(mongo, redis_server)
    answers = await asyncio.gather(*(many.get("/health/ready") for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    once = await _commands(mongo, redis_server)
    for _ in range(200):
        await many.get("/health/ready")
    again = await _commands(mongo, redis_server)
    # One thorough look for all of the first, and none for those that come after them.
    assert (once[0] - before[0])["listCollections"] == 1
    assert again[0]["listCollections"] + again[0]["ping"] == once[0]["listCollections"] + once[0]["ping"]
    assert again[1]["xlen"] == once[1]["xlen"]
    assert again[1]["info"] - once[1]["info"] == 1, "that of this test: a look that is not thorough asks it, too"


async def test_a_look_costs_the_same_however_many_streams_there_are(
    many: httpx.AsyncClient, mongo: AsyncMongoClient[Any], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await eventually(lambda: _is(many, "ready"))  # the thorough look may take longer than it has, on a busy machine
    monkeypatch.setattr(readiness, "LOOK_SECONDS", 0)
    before = await _commands(mongo, redis_server)
    for _ in range(50):
        assert (await many.get("/health/ready")).status_code == 200
    after = await _commands(mongo, redis_server)
    asked, spent = after[0] - before[0], after[1] - before[1]
    assert asked["listCollections"] == 0
    assert asked["listIndexes"] < 5, "mongod asks for those of its sessions, twice in five minutes; a look, for dozens"
    assert asked["find"] >= 50, "each asks MongoDB, and learns what is paused"
    assert 50 <= spent["info"] < 60
    assert spent["xlen"] < 10 * 41


async def test_what_is_wrong_with_a_stream_is_still_said(
    api: httpx.AsyncClient, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "THOROUGH_SECONDS", 0)
    assert (await api.get("/health/ready")).json()["status"] == "ready"
    with redis_server.client() as redis:
        redis.set("file_parsing_queue", "no stream")
    await eventually(lambda: _is(api, "degraded"))
    with redis_server.client() as redis:
        redis.delete("file_parsing_queue")
    await eventually(lambda: _is(api, "ready"))


async def _is(api: httpx.AsyncClient, status: str) -> bool:
    return bool((await api.get("/health/ready")).json()["status"] == status)

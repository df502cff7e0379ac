"""The application on real servers, spoken to in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from pymongo import AsyncMongoClient
from starlette.types import Receive, Scope, Send

from outbox.database import STREAMS, Database
from outbox.embedded import Mongod, RedisServer
from outbox.message import schema
from outbox.operations import stats, story
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox.streams import registry
from outbox_api.app import create_app
from outbox_api.collections import FILES_APPLICATION
from outbox_api.dashboard import sessions
from outbox_api.settings import ApiSettings
from tests.api.connecting import Server, environment, free_port, probed
from tests.api.serving import PATIENT, Api
from tests.databases import Catalogue, catalogue
from tests.relay.processes import RelayProcess

Serve = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture(autouse=True)
def servers_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They answer at once; this process may look late."""
    for module in (stats, story):
        monkeypatch.setattr(module, "REDIS_SECONDS", 30.0)
    monkeypatch.setattr(sessions, "LOOK_SECONDS", 30.0)


@pytest.fixture
def outbox_settings(mongodb_uri: str, redis_url: str) -> OutboxSettings:
    return load(OutboxSettings, mongodb_uri=mongodb_uri, redis_url=redis_url, mongodb_database="test_api")


_MADE: dict[str, Catalogue] = {}
"""What was there after it was set up, by mongod: to look at each collection takes long, too."""


@pytest.fixture
def not_set_up(outbox_settings: OutboxSettings, database: str) -> OutboxSettings:
    """The same with a database in which nothing is."""
    return outbox_settings.model_copy(update={"mongodb_database": database})


@pytest.fixture
async def db(mongo: AsyncMongoClient[dict[str, Any]], outbox_settings: OutboxSettings) -> Database:
    """The application's database, set up and empty. One for all tests: to set one up takes longer than most of them."""
    db = Database(mongo, outbox_settings.mongodb_database)
    await db[STREAMS].delete_many({})  # the tests before have declared theirs
    if await catalogue(db) == _MADE.get(outbox_settings.mongodb_uri.get_secret_value()):
        await registry.register(db, outbox_settings.streams)
    else:
        await schema.ensure(db, outbox_settings.streams, FILES_APPLICATION)
        _MADE[outbox_settings.mongodb_uri.get_secret_value()] = await catalogue(db)
    for collection in (*schema.COLLECTIONS, *FILES_APPLICATION.collections):
        if collection.name not in (schema.PARTITIONS, schema.META, STREAMS):
            await db[collection.name].delete_many({})
    return db


@pytest.fixture
async def serve(outbox_settings: OutboxSettings) -> AsyncIterator[Serve]:
    """Starts applications with the given settings, and gives a client to each."""
    async with AsyncExitStack() as stack:

        async def start(settings: OutboxSettings = outbox_settings, **overrides: Any) -> httpx.AsyncClient:
            app = create_app(load(ApiSettings, **(PATIENT | overrides)), settings)
            shared = await stack.enter_async_context(app.router.lifespan_context(app))

            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                scope["state"] = dict(shared or {})
                await app(scope, receive, send)

            transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
            return await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60)
            )

        yield start


@pytest.fixture
async def api(db: Database, serve: Serve) -> httpx.AsyncClient:
    """A client to an application with the default settings, on a database that is set up."""
    return await serve()


async def _set_up(settings: OutboxSettings) -> None:
    async with connect_mongo(settings) as client:
        await schema.ensure(Database(client, settings.mongodb_database), settings.streams, FILES_APPLICATION)


@pytest.fixture(scope="module")
def settings(mongod: Mongod, redis_server: RedisServer) -> OutboxSettings:
    mongod.start()
    redis_server.start()
    settings = load(
        OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_server.url, mongodb_database="test_connections"
    )
    asyncio.run(_set_up(settings))
    return settings


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, settings: OutboxSettings) -> Iterator[Server]:
    """One API for tests that only look at how it refuses."""
    with Api(tmp_path_factory.mktemp("api"), settings) as api:
        yield Server("api", api.port, api, "/health/live")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, settings: OutboxSettings) -> Iterator[Server]:
    port = free_port()
    process = RelayProcess(tmp_path_factory.mktemp("relay") / "relay.log", environment(settings), "--port", str(port))
    with probed(process, port) as server:
        yield server


@pytest.fixture(params=["api", "relay"])
def servers(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue("shared" if request.param == "api" else "relay")
    return found

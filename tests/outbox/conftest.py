from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Streams
from outbox import writes as module
from outbox.database import OUTBOX, Database, Document
from outbox.delivery import groups
from outbox.embedded import Mongod
from outbox.message import schema
from outbox.operations import downtime, replay, samples, stats, story
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES
from tests.databases import set_up
from tests.outbox.shelf import Shelf
from tests.outbox.shop import OTHERS, STREAMS, Client, Shop
from tests.outbox.stand_in import OF_6_0, OF_8_0, StandIn
from tests.outbox.ward import SOON, Ward
from tests.relay.world import a_world


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks gives up after a few seconds, which this machine may stand still for. A test about that says less."""
    for place, name in (
        (stats, "REDIS_SECONDS"), (stats, "MONGO_SECONDS"), (samples, "MONGO_SECONDS"), (groups, "SECONDS"),
        (story, "REDIS_SECONDS"), (downtime, "SECONDS"), (replay, "COUNT_SECONDS"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, 30.0)


@pytest.fixture
def streams() -> Streams:
    return Streams([FILES])


@pytest.fixture
async def db(mongo: AsyncMongoClient[Document], reused: None, database: str, streams: Streams) -> Database:
    """A database of this test's own, set up."""
    await set_up(Database(mongo, database), streams)
    return Database(mongo, database)


@pytest.fixture
def shelf(db: Database) -> Shelf:
    return Shelf(db)


@pytest.fixture
async def ward(
    mongo: AsyncMongoClient[Document], reused_with_files: None, database: str, redis: Redis
) -> AsyncIterator[Ward]:
    async with a_world(mongo, database, redis, [SOON]) as world:
        yield Ward(world, await world.owner(seconds=60))


@pytest.fixture(params=[OF_8_0, OF_6_0], ids=["8.0", "6.0"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def shop_database(mongod: Mongod) -> Iterator[str]:
    """For all tests: to set one up takes longer than any of them."""
    name = "test_writes"

    async def make() -> None:
        async with connect_mongo(load(OutboxSettings, mongodb_uri=mongod.uri)) as client:
            await schema.ensure(Database(client, name), STREAMS)

    mongod.start()
    asyncio.run(make())
    yield name
    with mongod.client() as client:
        client.drop_database(name)


@pytest.fixture
async def shop(mongod: Mongod, mongo: Client, shop_database: str, version: int) -> AsyncIterator[Shop]:
    for collection in ("orders", OTHERS):
        await mongo[shop_database].drop_collection(collection)
    await mongo[shop_database][OUTBOX].delete_many({})
    module._without.clear()  # of clients of tests before, which may have had the same port
    server = StandIn(mongod)
    server.wire_version = version
    async with server.open() as uri, connect_mongo(load(OutboxSettings, mongodb_uri=uri)) as client:
        yield Shop(client, shop_database, server, uri)

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Streams
from outbox.database import Database, Document
from outbox.message import schema
from outbox.streams.declaration import FILES
from tests.outbox.shelf import Shelf
from tests.outbox.ward import SOON, Ward
from tests.relay.world import a_world


@pytest.fixture
def streams() -> Streams:
    return Streams([FILES])


@pytest.fixture
async def db(mongo: AsyncMongoClient[Document], database: str, streams: Streams) -> Database:
    """A database of this test's own, set up."""
    await schema.ensure(Database(mongo, database), streams)
    return Database(mongo, database)


@pytest.fixture
def shelf(db: Database) -> Shelf:
    return Shelf(db)


@pytest.fixture
async def ward(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[Ward]:
    async with a_world(mongo, database, redis, [SOON]) as world:
        yield Ward(world, await world.owner(seconds=60))

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from tests.relay.silence import Clock
from tests.relay.ward import BARE, Ward
from tests.relay.world import World, a_world


@pytest.fixture
async def world(
    mongo: AsyncMongoClient[Document], reused_with_files: None, database: str, redis: Redis
) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis) as made:
        yield made


@pytest.fixture
async def ward(
    mongo: AsyncMongoClient[Document], reused_with_files: None, database: str, redis: Redis
) -> AsyncIterator[Ward]:
    async with a_world(mongo, database, redis, [BARE]) as world:
        yield Ward(world)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands still until a test moves it. What waits for a server goes by the real one."""
    made = Clock()
    monkeypatch.setattr("outbox.servers.silence.time", made)
    return made

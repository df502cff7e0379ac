from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.settings import OutboxSettings, load
from tests.relay.world import a_world
from tests.worker.parser import Parser
from tests.worker.waiting_handler import Waiting
from tests.worker.workshop import Workshop


@pytest.fixture
async def workshop(
    mongo: AsyncMongoClient[Document],
    mongodb_uri: str,
    reused_with_files: None,
    database: str,
    redis: Redis,
    redis_url: str,
) -> AsyncIterator[Workshop]:
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)
    async with a_world(mongo, database, redis) as world:
        yield Workshop(world, await world.owner(seconds=60), settings)


@pytest.fixture
def parser(workshop: Workshop) -> Parser:
    return Parser(workshop)


@pytest.fixture
async def waiting() -> AsyncIterator[Waiting]:
    handler = Waiting()
    yield handler
    handler.let_go.set()


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer notices a stop soon."""
    monkeypatch.setattr("outbox.worker.intake.BLOCK_SECONDS", 0.1)

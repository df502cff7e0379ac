from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs

from outbox.database import Database, Document
from outbox.embedded import Mongod, RedisServer
from outbox.streams.declaration import FILES, Streams
from outbox_api.collections import FILES_APPLICATION
from tests.databases import set_up
from tests.faults.proxy import Proxy
from tests.faults.scenario import Scenario


@pytest.fixture
async def scenario(
    mongod: Mongod,
    mongo: AsyncMongoClient[Document],
    reused_with_files: None,
    database: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Scenario]:
    """A world with a Redis of its own, whose `options` a test may give by parametrizing this fixture indirectly."""
    await set_up(Database(mongo, database), Streams([FILES]), FILES_APPLICATION)
    options: dict[str, str] = getattr(request, "param", {})
    with RedisServer(tmp_path / "redis", options=options) as redis, capture_logs() as logs:
        async with Proxy((mongod.host, mongod.port)) as to_mongo, Proxy((redis.host, redis.port)) as to_redis:
            yield Scenario(mongo, database, redis, to_mongo, to_redis, tmp_path, logs)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Chance, with a seed that is shown when the test fails and in the matrix. FAULTS_SEED repeats a run."""
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10**6))
    request.node.user_properties.append(("seed", seed))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)

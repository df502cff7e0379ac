"""What a worker's readiness says of streams that it does not read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Stream
from outbox.database import Document
from outbox.settings import OutboxSettings, load
from outbox.worker import Message
from tests.relay.world import STREAM, a_world
from tests.waiting import eventually
from tests.worker.test_monitoring import get, monitored
from tests.worker.workshop import Workshop

ORDERS = Stream("orders", "shop", partitions=1)


@pytest.fixture
async def two(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, redis: Redis, redis_url: str
) -> AsyncIterator[Workshop]:
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)
    async with a_world(mongo, database, redis, [STREAM, ORDERS]) as world:
        yield Workshop(world, await world.owner(seconds=60), settings)


async def handle(message: Message) -> None: ...


@pytest.mark.parametrize("missing", [True, False])
async def test_a_stream_that_is_left_out_is_named_while_the_others_are_read(two: Workshop, missing: bool) -> None:
    redis = two.world.redis
    if not missing:
        await redis.set(ORDERS.key, "of another type")
    async with monitored(two, handle, streams=[STREAM.name, ORDERS.name]) as port:

        def warnings() -> Any:
            status, text = get(port, "/readyz")
            return status == 200 and json.loads(text)["warnings"]

        [warning] = await eventually(warnings)
        assert "stream 'orders' is not read" in warning
        assert ("not there yet" if missing else "WRONGTYPE") in warning
        await redis.delete(ORDERS.key)
        await redis.xgroup_create(ORDERS.key, ORDERS.group, "0", mkstream=True)
        await eventually(lambda: warnings() == [])
        await redis.delete(ORDERS.key, STREAM.key)
        await eventually(lambda: get(port, "/readyz")[0] == 503)
        await redis.xgroup_create(STREAM.key, STREAM.group, "0", mkstream=True)
        await eventually(lambda: get(port, "/readyz")[0] == 200)

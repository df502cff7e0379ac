"""An outbox beside others: in a database of its own, and beside another application's in the same one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.servers.database import Document
from tests.faults.neighbours import Application

Client = AsyncMongoClient[Document]


@pytest.fixture
async def apart(mongo: Client, mongodb_uri: str, redis_url: str, database: str) -> AsyncIterator[Application]:
    """An application whose outbox is in another database than its orders."""
    application = f"{database}_orders"
    yield Application(
        mongo, "shop", mongodb_uri=mongodb_uri, redis_url=redis_url, mongodb_database=application,
        outbox_database=database, outbox_prefix="shop_outbox",
    )  # fmt: skip
    await mongo.drop_database(application)


async def test_an_outbox_in_a_database_of_its_own(mongo: Client, redis: Redis, apart: Application) -> None:
    await apart.set_up()
    async with apart.running():
        await apart.place_orders(20)
        await apart.comes_to_rest(20)
        # A loss is noticed, and what is settled is not published again: the subjects are looked up where they are.
        await redis.flushall()
        await apart.place_orders(10)
        await apart.comes_to_rest(30)
    assert set(apart.handled.values()) == {1}
    in_the_application = await apart.database.application.list_collection_names()
    assert not [name for name in in_the_application if "outbox" in name]
    names = await mongo[apart.database.name].list_collection_names()
    assert "shop_outbox_partitions" in names
    assert {name for name in names if not name.startswith("shop_outbox")} == set()

"""A change of the registered streams that is interrupted, as by a primary that steps down, between any two writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect
from redis.asyncio import Redis

from outbox import Stream, Streams
from outbox.database import AUDIT, Database, Document
from outbox.message import schema
from outbox.operations import audit, registration
from outbox.streams import registry
from tests.relay.world import a_world

ORDERS = Stream("orders", "shop", partitions=4)
WRITES = (
    (registration, "_update"), (registry, "_register"), (registry, "ensure_partitions"), (audit, "record"),
)  # fmt: skip


@pytest.fixture
async def db(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[Database]:
    async with a_world(mongo, database, redis, [ORDERS, Stream("others", "workers")]) as world:
        yield world.database


@contextmanager
def interrupted_before(number: int) -> Iterator[list[str]]:
    """Inside, so many of the `WRITES` are carried out and the next one fails. Yields the names of those asked for."""
    asked: list[str] = []

    def counted(function: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Awaitable[Any]]:
        async def write(*args: Any, **options: Any) -> Any:
            asked.append(name)
            if len(asked) > number:
                raise AutoReconnect("the primary stepped down")
            return await function(*args, **options)

        return write

    with pytest.MonkeyPatch.context() as patch:
        for place, name in WRITES:
            patch.setattr(place, name, counted(getattr(place, name), name))
        yield asked


async def repeated(db: Database, change: Callable[[], Awaitable[object]]) -> Streams:
    """The registered streams after `change`, which was interrupted before each of its writes, and repeated each time.

    Programs can start after each of them.
    """
    for number in count():
        with interrupted_before(number) as asked, suppress(AutoReconnect):
            await change()
        registered = await registry.read(db)
        assert registered
        await schema.check(db, registered)
        if len(asked) <= number:
            assert number > 0
            return registered
    raise AssertionError


async def test_another_number_of_partitions(db: Database) -> None:
    streams = await repeated(db, lambda: registration.change_partitions(db, "orders", 6))
    assert streams["orders"].partitions == 6
    assert await db[AUDIT].count_documents({"action": "change-stream"}) == 1


async def test_more_shards(db: Database) -> None:
    streams = await repeated(db, lambda: registration.change_as_declared(db, replace(ORDERS, shards=2)))
    assert "orders:1" in streams
    assert await db[AUDIT].count_documents({"action": "change-stream"}) == 1


async def test_a_removal(db: Database) -> None:
    async def remove() -> None:
        if "orders" in (await registry.read(db) or {}):
            await registration.remove(db, "orders")

    assert "orders" not in await repeated(db, remove)
    assert await db["outbox_partitions"].count_documents({"stream": "orders"}) == 0
    assert await db[AUDIT].count_documents({"action": "remove-stream"}) == 1


async def test_init_with_one_stream_more(db: Database) -> None:
    assert "more" in await repeated(db, lambda: schema.ensure(db, Streams([Stream("more", "workers")])))

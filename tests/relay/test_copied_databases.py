"""A copy of a database, as of production's for staging, at the Redis of the original: it is another outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import META, Document
from outbox.delivery.trim import trim
from outbox.errors import ForeignStream
from outbox.protocol.ownership import Ownership, owner
from outbox.worker.rescue import Rescue
from tests.outbox.ward import SOON, Ward
from tests.relay.test_ownership import BARE
from tests.relay.world import PARTITION, STREAM, World, a_world

Deed = Callable[[World], Awaitable[Any]]


@pytest.fixture
async def copy(world: World, mongo: AsyncMongoClient[Document], redis: Redis) -> AsyncIterator[World]:
    """It has the identity of what was copied."""
    name = f"test_{uuid4().hex[:12]}"
    async with a_world(mongo, name, redis) as made:
        await made.database[META].update_one({}, {"$set": {"identity": world.ours.identity}})
    async with a_world(mongo, name, redis) as made:
        assert made.ours.identity == world.ours.identity
        yield made
    await mongo.drop_database(name)


@pytest.mark.parametrize(
    "deed",
    [
        lambda copy: _drain(copy),
        lambda copy: trim(copy.database, copy.redis, BARE),
        lambda copy: Rescue(copy.database, copy.redis).abandoned(SOON),
        lambda copy: copy.checkpoints.look(PARTITION, 10**6),
        lambda copy: Ownership(copy.redis, copy.ours).acknowledge_unknown(STREAM, "1-1"),
        lambda copy: Ownership.checked(copy.database, copy.redis, [STREAM]),
    ],
    ids=["publish", "judge", "rescue", "open", "acknowledge", "start"],
)
async def test_a_copy_of_the_database_is_another_outbox(world: World, copy: World, deed: Deed) -> None:
    first = await world.owner()
    await world.append("a", "b")
    await first.drain_all()
    await Ward(world, first).read()
    before = await world.remember()
    await copy.append("c")
    with pytest.raises(ForeignStream, match=copy.database.name):
        await deed(copy)
    assert await world.remember() == before
    await world.append("d")
    assert await first.drain_all() == 1


async def _drain(copy: World) -> None:
    await (await copy.owner()).drain()


async def test_a_database_that_was_renamed_takes_its_streams_over(world: World, copy: World) -> None:
    first = await world.owner()
    await world.append("a")
    await first.drain_all()
    assert await Ownership(copy.redis, copy.ours).take_over(STREAM) == world.ours
    assert await owner(copy.redis, STREAM) == copy.ours
    await copy.append("b")
    assert await (await copy.owner()).drain_all() == 1
    await world.append("c")
    with pytest.raises(ForeignStream):
        await first.drain()

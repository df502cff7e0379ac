"""A group that somebody has set to an id that no entry has, or with a count that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.delivery.depth import depth_of
from outbox.protocol.script import Script
from outbox_relay.drained import Outcome
from tests.relay.ward import BARE, GROUP, NAME, Ward
from tests.relay.world import STREAM, World, a_world

MICROSECONDS = "1796000000000000"
"""Where an id has milliseconds."""


@pytest.mark.parametrize("looks", [True, False])
async def test_a_group_that_was_set_beyond_the_end_of_its_stream_is_given_what_is_added(
    looks: bool, ward: Ward
) -> None:
    owner = await ward.world.owner()
    await ward.world.append("f0", "f1", "f2", "f3")
    await owner.drain_all()
    await ward.ack(*await ward.read(2))
    await ward.look()
    await ward.redis.xgroup_setid(NAME, GROUP, MICROSECONDS)
    if looks:
        await ward.look()
    await ward.world.append("f4")
    await owner.drain_all()
    await ward.acked_by_others()
    if looks:
        await ward.look()
        assert await ward.states() == "ccwww"
    owner.drainer.doubt()
    for _ in range(3):
        await owner.drain_all()
        if given := await ward.read(9):
            await ward.ack(*given)
        await ward.look()
    assert await ward.states() == "ccccc"


async def test_an_idle_relay_sees_a_group_beyond_the_end_of_its_stream(ward: Ward) -> None:
    await ward.publish(1)
    await ward.redis.xgroup_setid(NAME, GROUP, MICROSECONDS)
    glance = await ward.world.checkpoints.glance(NAME, [0], group=True, known="", read=1)
    assert glance.stands == {}
    await ward.drain()
    [group] = await ward.redis.xinfo_groups(NAME)
    assert group["last-delivered-id"] == (await ward.redis.xinfo_stream(NAME))["last-generated-id"]


async def test_a_wrong_count_of_a_group_lets_nobody_pass_the_limit(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    async with a_world(mongo, database, redis, [replace(STREAM, max_undelivered=5)]) as world:
        await publish_beyond_the_limit(world)


async def publish_beyond_the_limit(world: World) -> None:
    await world.append(*(f"f{n}" for n in range(20)))
    owner = await world.owner()
    published = await owner.drain_all()
    await world.redis.xgroup_setid(NAME, GROUP, "0", entries_read=1000)
    assert (await owner.drain()).outcome is Outcome.FULL
    assert (await depth_of(world.redis, BARE)).undelivered == published


async def test_whoever_has_read_all_is_given_more_whatever_count_the_group_was_set_to(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    async with a_world(mongo, database, redis, [replace(STREAM, max_undelivered=5)]) as world:
        ward = Ward(world)
        owner = await world.owner()

        async def publish(count: int) -> None:
            await world.append(*(f"f{n}" for n in range(count)))
            while published := await owner.drain_all():
                assert published <= 5
                assert len(await ward.read(100)) == published
                count -= published
            assert count == 0

        await publish(20)
        await redis.xgroup_setid(NAME, GROUP, "$", entries_read=0)
        assert (await depth_of(redis, STREAM)).undelivered == 0
        await publish(20)


async def a_stream_whose_count_is_lost(redis: Redis, given: int, waiting: int, size: int) -> None:
    pipeline = redis.pipeline(transaction=False)
    for _ in range(given + waiting + 1):
        pipeline.xadd(NAME, {"payload": "x" * size})
    entries = await pipeline.execute()
    await redis.xgroup_create(NAME, GROUP, "0")
    if given:
        await redis.xreadgroup(GROUP, "w", {NAME: ">"}, count=given)
    await redis.xdel(NAME, entries[given + 1])
    [group] = await redis.xinfo_groups(NAME)
    assert group["lag"] is None


async def has_room(redis: Redis, limit: int) -> bool:
    return bool((await Script("room").run(redis, [NAME], [GROUP, limit]))[0])


@pytest.mark.parametrize("waiting", [9, 10, 11, 110, 230])
async def test_where_redis_has_lost_count_the_limit_is_what_was_declared(waiting: int, redis: Redis) -> None:
    await a_stream_whose_count_is_lost(redis, 20, waiting, 10)
    assert not await has_room(redis, waiting - 1)
    assert await has_room(redis, waiting)
    assert await has_room(redis, waiting + 1)


async def test_where_redis_has_lost_count_of_large_entries_few_of_them_are_read(redis: Redis) -> None:
    """More of them would hold Redis up. The limit is lower then, and those who read get more."""
    await a_stream_whose_count_is_lost(redis, 100, 100, 60_000)
    assert not await has_room(redis, 150)
    await redis.xreadgroup(GROUP, "w", {NAME: ">"}, count=40)
    assert not await has_room(redis, 150)
    await redis.xreadgroup(GROUP, "w", {NAME: ">"}, count=40)
    assert await has_room(redis, 150)

"""A Redis that is full refuses whatever may take more memory. It has room again once workers have done their work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from outbox.database import Document
from outbox.delivery.entries import MARK
from outbox.embedded import RedisServer
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from tests.relay.ward import BARE, GROUP, NAME, Ward
from tests.relay.world import a_world

MESSAGES = 25
LARGE = "x" * 60_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that no other test uses: its memory is what the test puts there."""
    with RedisServer(tmp_path / "redis") as started:
        yield started


async def used_memory(redis: Redis) -> int:
    """What is compared with the limit: without what still has to be written to the append-only file."""
    memory = await redis.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_not_counted_for_evict"])


@pytest.fixture
async def full(mongo: AsyncMongoClient[Document], database: str, server: RedisServer) -> AsyncIterator[Ward]:
    """A ward whose entries take more than half of the memory that Redis may use. Workers have all of them."""
    async with connect_redis(load(OutboxSettings, redis_url=server.url)) as client:
        redis = cast(Redis, client)
        async with a_world(mongo, database, redis, [BARE]) as world:
            ward = Ward(world)
            before = await used_memory(redis)
            await world.append(*(f"f{n:03}" for n in range(MESSAGES)), large=LARGE)
            await ward.drain()
            assert len(await ward.read(MESSAGES)) == MESSAGES
            await redis.config_set("maxmemory", (before + await used_memory(redis)) // 2)
            await world.append("f900")
            with pytest.raises(OutOfMemoryError):
                await ward.drain()
            yield ward


async def ack_all(ward: Ward) -> None:
    await ward.ack(*(id_ for id_, _ in await ward.world.stream()))


async def goes_on(ward: Ward) -> None:
    assert await ward.world.stream() == []
    assert await ward.states() == "c" * MESSAGES + "w"
    await ward.drain()
    assert await ward.states() == "c" * MESSAGES + "p"


@pytest.mark.parametrize("page", [1000, 10])
async def test_what_was_acknowledged_leaves_a_full_redis(
    page: int, full: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.delivery.evidence.PAGE", page)
    await ack_all(full)
    await full.look()
    await goes_on(full)


async def test_a_full_redis_is_looked_at_while_workers_hold_all_entries(full: Ward) -> None:
    assert (await full.look()).removed == 0
    assert (await full.look()).removed == 0
    await ack_all(full)
    await full.look()
    await goes_on(full)


async def test_a_group_is_watched_from_then_on_in_a_full_redis(full: Ward) -> None:
    """As one that was made before anybody watched, or has lost its mark."""
    await full.redis.hdel(f"{{{NAME}}}:outbox:stream", "look")
    await full.redis.xgroup_delconsumer(NAME, GROUP, MARK)
    await ack_all(full)
    await full.look()
    await goes_on(full)

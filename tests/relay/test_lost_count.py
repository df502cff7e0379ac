"""Redis has lost count of what a group has to be given, as entries ahead of it are gone: this costs others little."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.streams.declaration import Partition
from tests.relay.test_groups_beyond import a_stream_whose_count_is_lost
from tests.relay.world import STREAM, a_world


async def seconds_in_scripts(redis: Redis) -> float:
    stats: Any = await redis.info("commandstats")
    return float(sum(stats[name]["usec"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)) / 1_000_000


async def test_a_full_stream_leaves_redis_time_for_others(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    full = replace(STREAM, partitions=8, max_undelivered=6000)
    async with a_world(mongo, database, redis, [full]) as world:
        await a_stream_whose_count_is_lost(redis, 0, 7000, 20)
        end, before = time.monotonic() + 3, await seconds_in_scripts(redis)

        async def ask(partition: Partition) -> None:
            while time.monotonic() < end:
                assert not await world.checkpoints.has_room(partition, 100)
                await asyncio.sleep(0.02)

        await asyncio.gather(*map(ask, (Partition(STREAM.name, number) for number in full.numbers)))
        assert (await seconds_in_scripts(redis) - before) / 3 < 0.15
        await redis.xreadgroup(STREAM.group, "worker", {STREAM.name: ">"}, count=5000)
        await asyncio.sleep(1)
        assert await world.checkpoints.has_room(Partition(STREAM.name, 3), 100)

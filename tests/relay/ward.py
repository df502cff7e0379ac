"""A relay that looks at a stream without a subject when it is asked to, and its plain workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import AsyncMock, patch

import pytest
from pymongo.errors import AutoReconnect

from outbox import Stream
from outbox.database import OUTBOX
from outbox.delivery import evidence
from outbox.delivery.trim import Trimmed, trim
from outbox.message.outcome import Found
from outbox.worker.rescue import Rescue
from tests.relay.world import PARTITION, STREAM, World

NAME, GROUP = STREAM.name, STREAM.group
BARE = Stream(NAME, GROUP, partitions=1)
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


class Ward:
    """A relay that looks when it is asked to, and workers that know nothing of us."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.redis = world.redis

    async def publish(self, count: int, first: int = 0, *, batch_size: int = 10) -> list[str]:
        """The ids of the entries of so many messages, each published long ago."""
        before = {id_ for id_, _ in await self.world.stream()}
        await self.world.append(*(f"f{n:03}" for n in range(first, first + count)))
        await self.drain(batch_size)
        return [id_ for id_, _ in await self.world.stream() if id_ not in before]

    async def drain(self, batch_size: int = 10) -> None:
        await (await self.world.owner(relay_batch_size=batch_size)).drain_all()
        await self.world.database[OUTBOX].update_many({"state": "published"}, {"$set": {"published_at": LONG_AGO}})

    async def read(self, count: int, consumer: str = "w", *, noack: bool = False) -> list[str]:
        found = await self.redis.xreadgroup(GROUP, consumer, {NAME: ">"}, count=count, noack=noack)
        return [id_ for _, entries in cast(Any, found) for id_, _ in entries]

    async def ack(self, *ids: str) -> None:
        await self.redis.xack(NAME, GROUP, *ids)

    async def acked_by_others(self) -> None:
        """Something was acknowledged on the server, which tells nothing of this stream."""
        await self.redis.xack("another", "group", "1-0")

    async def look(self) -> Trimmed:
        return await trim(self.world.database, self.redis, BARE)

    async def look_in_vain(self) -> None:
        """A look that found something, and MongoDB was away when that was to be written."""
        away = dict.fromkeys(("_complete", "_put_back"), AsyncMock(side_effect=AutoReconnect("mine")))
        with patch.multiple(evidence, **away), pytest.raises(AutoReconnect):
            await self.look()

    async def rescue(self) -> Found:
        return await Rescue(self.world.database, self.redis).vanished(BARE, PARTITION)

    async def states(self) -> str:
        """The first letters of the states, by key: p for published, c for completed, w for waiting to be published."""
        letters = {"published": "p", "completed": "c", "pending": "w", "dead": "d"}
        found = await self.world.database[OUTBOX].find().sort("key").to_list()
        return "".join(letters[message["state"]] for message in found)

"""A relay that is moved by hand, plain workers, and what a rescue sees of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from outbox.database import Document
from outbox.message.outcome import Found
from outbox.streams.declaration import Retry
from outbox.worker.rescue import Rescue
from tests.relay.world import PARTITION, STREAM, Owner, World
from tests.waiting import eventually

SOON = replace(STREAM, rescue_seconds=0.05, retry=Retry(attempts=2))
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


class Ward:
    """A world with a relay that is moved by hand, and what a rescue sees of it."""

    def __init__(self, world: World, owner: Owner) -> None:
        self.world = world
        self.owner = owner
        self.rescue = Rescue(world.database, world.redis)

    async def publish(self, *keys: str) -> list[ObjectId]:
        """Published messages that were published long ago."""
        ids = await self.world.append(*keys)
        await self.publish_again()
        return ids

    async def publish_again(self) -> None:
        await self.owner.drain_all()
        await self.world.database.outbox.update_many({"state": "published"}, {"$set": {"published_at": LONG_AGO}})

    async def read(self, consumer: str = "worker-1", count: int = 100) -> list[str]:
        """What a plain worker does: the ids of the entries that it gets."""
        streams: dict[Any, Any] = {SOON.name: ">"}
        answer: Any = await self.world.redis.xreadgroup(SOON.group, consumer, streams, count=count)
        return [id_ for _, entries in answer for id_, _ in entries]

    async def acknowledge(self, *ids: str) -> None:
        await self.world.redis.xack(SOON.name, SOON.group, *ids)

    async def abandoned(self) -> Found:
        """What a look finds, once its worker has been silent for long enough."""

        async def some() -> object:
            found = await self.rescue.abandoned(SOON)
            return found if found != Found() else None

        found = await eventually(some)
        assert isinstance(found, Found)
        return found

    async def cleared(self) -> bool:
        """After a look for what silent workers hold: whether nobody holds anything."""
        await self.rescue.abandoned(SOON)
        return await self.held() == 0

    async def vanished(self) -> Found:
        return await self.rescue.vanished(SOON, PARTITION)

    async def held(self) -> int:
        pending: Any = await self.world.redis.xpending(SOON.name, SOON.group)
        return int(pending["pending"])

    async def message(self, id_: ObjectId) -> Document:
        found = await self.world.database.outbox.find_one({"_id": id_})
        assert found
        return found

    async def parsing(self, key: str) -> str:
        found = await self.world.database.files.find_one({"_id": key})
        assert found
        return str(found["parsing"])

"""A relay that is moved by hand, and consumers that run by themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from bson import ObjectId

from outbox.database import Document
from outbox.settings import OutboxSettings
from outbox.worker import Consumer, Handlers
from tests.relay.world import Owner, World
from tests.worker.processes import at_work


class Workshop:
    """What a test sees and does."""

    def __init__(self, world: World, owner: Owner, settings: OutboxSettings) -> None:
        self.world = world
        self.owner = owner
        self.settings = settings
        self.stream = world.streams["file_parsing_queue"]

    async def publish(self, *keys: str) -> list[ObjectId]:
        """Append a message for each key, with its file, and publish them all; returns their ids."""
        ids = await self.world.append(*keys)
        await self.owner.drain_all()
        return ids

    def working(self, handler: Callable[..., Any] | Handlers, **options: Any) -> AbstractAsyncContextManager[Consumer]:
        """A consumer at work."""
        return at_work(Consumer(self.settings, handler, **options))

    async def message(self, id_: ObjectId) -> Document:
        found = await self.world.database.outbox.find_one({"_id": id_})
        assert found
        return found

    async def in_state(self, state: str, *ids: ObjectId) -> bool:
        query = {"_id": {"$in": ids}, "state": state}
        return await self.world.database.outbox.count_documents(query) == len(ids)

    async def parsing(self, key: str) -> str:
        file = await self.world.database.files.find_one({"_id": ObjectId(key) if ObjectId.is_valid(key) else key})
        assert file
        return str(file["parsing"])

    async def unacknowledged(self) -> int:
        pending: Any = await self.world.redis.xpending(self.stream.name, self.stream.group)
        return int(pending["pending"])

    async def all_acknowledged(self) -> bool:
        """Every entry was given to a consumer, and none is in a consumer's hands."""
        groups: Any = await self.world.redis.xinfo_groups(self.stream.name)
        info: Any = await self.world.redis.xinfo_stream(self.stream.name)
        return bool(groups[0]["last-delivered-id"] == info["last-generated-id"] and groups[0]["pending"] == 0)

"""Scenarios on servers of other shapes: a replica set, Sentinels, a cluster, with users, with TLS. Without proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from outbox import Outbox
from outbox.database import Database, Document
from outbox.embedded import RedisServer
from outbox.message import schema
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.settings import OutboxSettings, load
from outbox_api.collections import FILES_APPLICATION
from tests.faults.history import Appended
from tests.faults.judge import judge
from tests.faults.scenario import Scenario

Entries = list[tuple[str, dict[str, str]]]


class Elsewhere(Scenario):
    """A scenario in which relays, client and judge reach the servers as the settings say."""

    def __init__(
        self,
        client: AsyncMongoClient[Document],
        settings: OutboxSettings,
        folder: Path,
        logs: list[MutableMapping[str, Any]],
    ) -> None:
        nothing = cast(Any, None)
        super().__init__(client, settings.mongodb_database, nothing, nothing, nothing, folder, logs)
        self._settings = settings
        self.streams = settings.streams
        self._outbox = Outbox(self.streams, database=settings.mongodb_database)

    @property
    def settings(self) -> OutboxSettings:
        return self._settings

    def let_relays_be(self, settings: OutboxSettings) -> None:
        """Relays are another user from now on than who appends, and so is the judge at Redis."""
        self._settings = settings

    @asynccontextmanager
    async def at_redis(self, server: RedisServer | None = None, *, patience: float = 5) -> AsyncIterator[Redis]:
        settings = load(OutboxSettings, redis_url=server.url) if server else self._settings
        async with connect_redis(settings, timeout_seconds=patience) as redis:
            yield cast(Redis, redis)

    async def append_to(self, stream: str, *keys: str) -> list[str]:
        """One transaction and one message a key, in any of the declared streams."""
        messages = []
        for key in keys:

            async def body(session: Any, key: str = key) -> ObjectId:
                files = self.database.files
                await files.update_one({"_id": key}, {"$set": {"parsing": "queued"}}, upsert=True, session=session)
                return cast(ObjectId, await self._outbox.append(session, stream, {"file_id": key}, key=key))

            async with self.client.start_session() as session:
                messages.append(str(await session.with_transaction(body)))
            self.history.add(Appended(messages[-1], f"{stream} {key}"))  # order is kept in each stream
        return messages

    async def everything(self, server: RedisServer | None = None) -> dict[str, Entries]:
        """All streams, by name."""
        async with self.at_redis(server) as redis:
            return {name: cast(Entries, await redis.xrange(name)) for name in self.streams}

    async def verdict(self) -> list[str]:
        try:
            streams = await self.everything()
        except RedisError as error:
            raise AssertionError(f"the streams cannot be read: {error}") from error  # not yet, to who waits for rest
        return judge(self.history, await self.dump(), streams)


@asynccontextmanager
async def elsewhere(folder: Path, **settings: Any) -> AsyncIterator[Elsewhere]:
    """A scenario in a database that whom `settings` name sets up."""
    loaded = load(OutboxSettings, **settings)
    async with connect_mongo(loaded, server_selection_seconds=30) as client:
        database = Database(client, loaded.mongodb_database)
        await schema.ensure(database, loaded.streams, FILES_APPLICATION)
        with capture_logs() as logs:
            yield Elsewhere(client, loaded, folder, logs)

"""Where a bench takes place: servers, a database of its own, Redis keys of its own, and relays as users run them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pymongo import AsyncMongoClient

from outbox.database import Database, Document
from outbox.embedded import Mongod, Process, RedisServer
from outbox.environment import of_servers
from outbox.errors import OutboxError
from outbox.message import schema
from outbox.operations import applications
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.servers.topology import AnyRedis
from outbox.settings import OutboxSettings, StreamSetting
from outbox.streams.declaration import Stream
from outbox.streams.keys import record_key

CACHE_GIGABYTES = 1.0
LOOK_SECONDS = 0.005


class ChildEnded(OutboxError):
    """A process that was being measured ended by itself; the text has its last words."""


@dataclass(slots=True)
class Ground:
    """Servers and clients of one bench. `server` is None when Redis is the user's own, and so not ours to kill."""

    settings: OutboxSettings
    client: AsyncMongoClient[Document]
    database: Database
    redis: AnyRedis
    server: RedisServer | None
    folder: Path
    _running: list[Process] = field(default_factory=list)
    _started: int = 0

    @property
    def stream(self) -> Stream:
        """The one stream, as it is declared at present."""
        return self.settings.streams[self.settings.outbox_streams[0].name]

    async def clear(self, *, partitions: int = 4) -> None:
        """An empty outbox with that many partitions, and nothing of it in Redis."""
        declared = self.settings.outbox_streams[0].model_copy(update={"partitions": partitions})
        await self.remove()
        self.settings = self.settings.model_copy(update={"outbox_streams": [declared]})
        await schema.ensure(self.database, self.settings.streams, applications.files())

    async def forget(self) -> None:
        """Take from Redis all that it knows of this bench, as a FLUSHALL would, and leave the rest alone."""
        numbers = range(self.stream.partitions)
        checkpoints = (self.stream.checkpoint_key(number) for number in numbers)
        await self.redis.delete(self.stream.key, record_key(self.stream.key), *checkpoints)

    async def remove(self) -> None:
        """Drop the database, and delete the keys."""
        await self.client.drop_database(self.database.name)
        await self.forget()

    @contextmanager
    def child(self, *arguments: str, **environment: object) -> Iterator[Process]:
        """`python -m ARGUMENTS` on this ground; stopped at the end."""
        self._started += 1
        name = f"{self._started}-{arguments[-1].rpartition('.')[2]}"
        # -P: a folder `api` or `relay` where the bench is called must not be taken for ours.
        process = Process(name, [sys.executable, "-P", "-m", *arguments], self.folder / f"{name}.log")
        process.env = {**os.environ, **self._environment(), **{key: str(value) for key, value in environment.items()}}
        with process:
            self._running.append(process)
            try:
                yield process
            finally:
                self._running.remove(process)

    def check(self) -> None:
        """To be called by whoever waits for a child's work. Raises ChildEnded when one ended by itself."""
        for process in self._running:
            if not process.running:
                raise ChildEnded(f"{process.name} ended by itself: {process.output(last_lines=5)}")

    async def look_again(self) -> None:
        """For whoever looks again and again for what a child does: wait a moment. Raises ChildEnded."""
        self.check()
        await asyncio.sleep(LOOK_SECONDS)

    @contextmanager
    def relay(self, **environment: object) -> Iterator[Process]:
        """A relay with default settings but for what `environment` says."""
        with self.child("outbox", "relay", OUTBOX_RELAY_LISTEN="127.0.0.1:0", **environment) as process:
            yield process

    def _environment(self) -> dict[str, str]:
        streams = [setting.model_dump() for setting in self.settings.outbox_streams]
        return {
            **of_servers(self.settings.mongodb_uri.get_secret_value(), self.settings.redis_dsn),
            "MONGODB_DATABASE": self.settings.mongodb_database,
            "OUTBOX_DATABASE": self.settings.place.database,
            "OUTBOX_PREFIX": self.settings.outbox_prefix,
            "OUTBOX_STREAMS": json.dumps(streams),
            "OUTBOX_LOG_FORMAT": "json",
        }

    async def versions(self) -> dict[str, str]:
        info: dict[str, Any] = await self.redis.info("server")
        redis = str(info.get("server_name", "redis"))
        return {
            "mongodb": (await self.client.server_info())["version"],
            redis: str(info.get(f"{redis}_version", info.get("redis_version"))),
        }


@asynccontextmanager
async def prepared(settings: OutboxSettings, mongodb_uri: str | None, redis_url: str | None) -> AsyncIterator[Ground]:
    """Embedded servers, or the given ones; database and keys are removed at the end, whatever happens.

    Raises what the servers raise when they cannot be started or reached.
    """
    name = f"outbox_bench_{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outbox-bench-")))
        server = None
        if mongodb_uri is None:
            mongod = Mongod(folder / "mongod", binary=settings.outbox_mongod, cache_gigabytes=CACHE_GIGABYTES)
            await asyncio.to_thread(stack.enter_context, mongod)
            mongodb_uri = mongod.uri
        if redis_url is None:
            server = RedisServer(folder / "redis", binary=settings.outbox_redis_server)
            await asyncio.to_thread(stack.enter_context, server)
            redis_url = server.url
        settings = settings.model_copy(
            update={
                "mongodb_uri": SecretStr(mongodb_uri),
                "mongodb_database": name,
                "outbox_database": name,
                "redis_url": SecretStr(redis_url),
                # No worker reads what is measured here.
                "outbox_streams": [StreamSetting(name=name, group="bench", max_undelivered=0, trim=False)],
            }
        )
        client = await stack.enter_async_context(connect_mongo(settings))
        redis = connect_redis(settings, timeout_seconds=30)
        stack.push_async_callback(redis.aclose)
        ground = Ground(settings, client, Database(client, settings.place), redis, server, folder)
        try:
            yield ground
        finally:
            await ground.remove()

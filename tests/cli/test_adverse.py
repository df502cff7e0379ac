"""Whatever others write into the stream or the database, everything goes on, and each good message is handled once."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from outbox import Outbox
from outbox.database import Database, Document
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer, Message
from outbox_relay.daemon import Relay
from outbox_relay.settings import RelaySettings
from tests.adverse import Adverse, broken
from tests.cli.conftest import Cli
from tests.cli.reading import everything_can_be_read
from tests.waiting import eventually
from tests.worker.processes import at_work

SEEDS = range(int(os.environ.get("ADVERSE_FROM", 0)), int(os.environ.get("ADVERSE_TO", 2)))
NAME, GROUP = "file_parsing_queue", "file_parsers"
STREAM = {
    "name": NAME, "group": GROUP, "partitions": 1, "rescue_seconds": 1,
    "subject": {"collection": "files", "field": "parsing", "wanted": "queued"},
}  # fmt: skip


@pytest.fixture
def settings(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> OutboxSettings:
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([STREAM]))
    assert bare("init", "--files").code == 0
    return load(OutboxSettings)


class Wild:
    """A stream and a database that anybody writes to."""

    def __init__(self, seed: int, db: Database, redis: Redis, settings: OutboxSettings) -> None:
        self.adverse = Adverse(seed)
        self.db = db
        self.redis: Any = redis
        self.settings = settings
        self.good: list[ObjectId] = []

    async def append(self, count: int) -> None:
        outbox = Outbox(self.settings.streams, database=self.db.name)
        for _ in range(count):
            async with self.db.client.start_session() as session, await session.start_transaction():
                file = ObjectId()
                await self.db.files.insert_one({"_id": file, "parsing": "queued", "filename": "a.pdf"}, session=session)
                self.good.append(await outbox.append(session, NAME, {"file_id": str(file)}, key=str(file)))

    async def entries(self, count: int) -> None:
        for _ in range(count):
            await self.redis.execute_command("XADD", NAME, "*", *self.adverse.entry(self.good))

    async def readers(self, count: int) -> None:
        """Groups of others, and consumers of them and of our own group, some of which hold what they were given."""
        groups: list[bytes] = [GROUP.encode()]
        for _ in range(count):
            groups.append(self.adverse.group())
            with suppress(ResponseError):  # it is there already
                await self.redis.execute_command("XGROUP", "CREATE", NAME, groups[-1], "0")
        for _ in range(count):
            group, consumer = self.adverse.random.choice(groups), self.adverse.consumer()
            await self.redis.execute_command("XREADGROUP", "GROUP", group, consumer, "COUNT", 3, "STREAMS", NAME, ">")

    async def documents(self, count: int) -> None:
        messages: Any = self.db.outbox
        for _ in range(count):
            await messages.insert_one(self.adverse.document(NAME), bypass_document_validation=True)
        files: Any = self.db.files
        for parsing in ("queued", "parsing start", "parsed", "QQQQ"):
            await files.insert_one(
                broken(
                    {
                        "_id": self.adverse.id(),
                        "parsing": parsing,
                        "filename": "QQQQ.pdf",
                        "folder_id": "QQQQ",
                        "version": self.adverse.odd(),
                    }
                ),
                bypass_document_validation=True,
            )

    async def parse(self, message: Message, session: Any) -> None:
        await session.client[self.db.name].files.update_one(
            {"_id": ObjectId(message.key) if ObjectId.is_valid(message.key) else message.key},
            {"$set": {"parsing": "parsed"}, "$inc": {"handled": 1}},
            session=session,
        )

    async def all_are_handled_once(self) -> bool:
        query = {"_id": {"$in": self.good}, "state": "completed"}
        assert await self.db.outbox.count_documents(query) == len(self.good)
        files = [message["key"] async for message in self.db.outbox.find({"_id": {"$in": self.good}}, {"key": 1})]
        handled = [f["handled"] async for f in self.db.files.find({"_id": {"$in": list(map(ObjectId, files))}})]
        assert handled == [1] * len(self.good)
        return True

    async def nothing_is_held(self) -> bool:
        groups: Any = await self.redis.xinfo_groups(NAME)
        return all(not group["pending"] and not group["lag"] for group in groups if group["name"] == GROUP)


@pytest.fixture
async def wild(
    request: pytest.FixtureRequest,
    settings: OutboxSettings,
    mongo: AsyncMongoClient[Document],
    database: str,
    redis: Redis,
) -> Wild:
    return Wild(request.param, Database(mongo, database), redis, settings)


@pytest.mark.parametrize("wild", SEEDS, indirect=True)
async def test_everything_goes_on(wild: Wild, bare: Cli) -> None:
    await wild.redis.xgroup_create(NAME, GROUP, "0", mkstream=True)
    await wild.readers(3)
    await wild.entries(10)
    await wild.append(3)
    await wild.documents(8)
    listen = socket.create_server(("127.0.0.1", 0))
    relay = Relay(load(RelaySettings, relay_trim_seconds=0.5), wild.settings, listen=listen)
    with capture_logs() as logs:  # or they would stand between what commands write
        working = asyncio.create_task(relay.run())
        consumer = Consumer(wild.settings, wild.parse, silent_seconds=1, concurrency=5)
        async with at_work(consumer):
            await wild.entries(10)
            await wild.readers(3)
            await wild.append(3)
            await eventually(lambda: working.done() or wild.all_are_handled_once(), 20, every=0.2)
            assert not working.done(), working.exception()
            await everything_can_be_read(wild.db, wild.settings, bare)
            await eventually(wild.nothing_is_held, 20, every=0.2)
            assert not working.done()
        relay.stop()
        await working
    json.dumps(logs, ensure_ascii=False, default=str).encode()

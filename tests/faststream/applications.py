"""FastStream applications that the tests run: in this process, and as processes of their own."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bson import ObjectId
from faststream import FastStream
from faststream.redis import RedisBroker
from pydantic import BaseModel, ConfigDict

from outbox.faststream import CurrentMessage, OutboxWorker, Session
from outbox.settings import OutboxSettings, load
from tests.relay.processes import RelayProcess
from tests.waiting import eventually_sync, pass_by

STREAM = "file_parsing_queue"


class File(BaseModel):
    """What the messages say; flat fields are texts, which pydantic reads."""

    model_config = ConfigDict(extra="forbid")
    file_id: str
    pages: int = 1


@asynccontextmanager
async def at_work(
    settings: OutboxSettings, handler: Callable[..., Any], *middlewares: Any, **options: Any
) -> AsyncIterator[RedisBroker]:
    """An application's broker, with one handler."""
    broker = RedisBroker(settings.redis_dsn, middlewares=middlewares)
    OutboxWorker(broker, settings, **options).subscriber(STREAM)(handler)
    async with broker:
        await broker.start()
        yield broker


class ApplicationProcess(RelayProcess):
    """`main` of this module, as a process."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.faststream.applications"]

    def started(self) -> None:
        eventually_sync(lambda: self.told("worker started"), 30, what="the application's start")


class Named(BaseModel):
    """What `effect` needs of a message, whatever else it says."""

    file_id: str


async def effect(file: Named, session: Session, message: CurrentMessage) -> None:
    """As the handler of the same name for our own workers: traces of each time that it took effect."""
    database = session.client[os.environ["MONGODB_DATABASE"]]
    await database.effects.insert_one({"message": message.id, "by": "faststream"}, session=session)
    await pass_by(random.uniform(0, 0.02))
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    await database.files.update_one({"_id": ObjectId(file.file_id)}, change, session=session)


def main() -> None:
    broker = RedisBroker(load(OutboxSettings).redis_dsn)
    OutboxWorker(broker, silent_seconds=2.0, concurrency=5).subscriber(STREAM)(effect)
    asyncio.run(FastStream(broker).run())


if __name__ == "__main__":
    main()

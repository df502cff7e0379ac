"""Workers and rescue where each stream is on a server of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from outbox import Outbox, schema
from outbox.connections import connect_redis
from outbox.consumer import Consumer, Message
from outbox.rescue import Found, Rescue
from outbox.schema import Document
from outbox.settings import OutboxSettings, load
from tests.faults.topologies import ThreePrimaries
from tests.relay.processes import RelayProcess
from tests.waiting import eventually
from tests.worker.processes import at_work, running

NAMES = ["alpha", "beta", "delta"]
"""Streams whose slots belong to three different primaries."""


async def test_a_consumer_reads_streams_of_several_primaries_and_what_it_leaves_is_rescued(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def handle(message: Message, session: object) -> None:
        seen.append(message.stream)

    declared = [{"name": name, "group": "workers", "partitions": 1} for name in NAMES]
    with ThreePrimaries(tmp_path) as cluster:
        settings = load(
            OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=cluster.url,
            outbox_streams=declared,
        )  # fmt: skip
        db, outbox = mongo[database], Outbox(settings.streams, database=database)
        await schema.ensure(db, settings.streams)

        async def append() -> None:
            async with mongo.start_session() as session, await session.start_transaction():
                for name in NAMES:
                    await outbox.append(session, name, {"n": "1"}, key=name)

        async def completed(count: int) -> bool:
            return await db.outbox.count_documents({"state": "completed"}) == count

        async def published() -> bool:
            return await db.outbox.count_documents({"state": "published"}) == 3

        environment = {
            "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": cluster.url,
            "OUTBOX_STREAMS": json.dumps(declared),
        }  # fmt: skip
        await append()
        with running(RelayProcess(tmp_path / "relay.log", environment)):
            async with at_work(Consumer(settings, handle)):
                await eventually(lambda: completed(3), 30)
            await append()
            await eventually(published, 30)
        assert sorted(seen) == NAMES
        async with connect_redis(settings) as redis:
            rescue = Rescue(db, redis)
            for name in NAMES:
                stream, new = replace(settings.streams[name], rescue_seconds=0.05), dict[Any, Any]({name: ">"})
                await redis.xreadgroup("workers", "worker-1", new)

                async def found(stream: Any = stream) -> bool:
                    return await rescue.abandoned(stream) == Found(rescued=1)

                await eventually(found)

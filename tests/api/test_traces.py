"""A file's whole way as one trace: uploaded over HTTP, published by a relay's drainer, handled by our consumer."""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import STREAMS, Database, Document
from outbox.settings import OutboxSettings, StreamSetting, SubjectSetting
from outbox.worker import Consumer, Message
from tests.api.conftest import Serve
from tests.outbox.test_traces import CALLER, spans  # noqa: F401  # a fixture
from tests.relay.world import STREAM, a_world

ONE = StreamSetting(name=STREAM.name, group=STREAM.group, partitions=1, subject=SubjectSetting())


async def test_from_the_upload_to_the_worker(
    serve: Serve,
    outbox_settings: OutboxSettings,
    mongo: AsyncMongoClient[Document],
    db: Database,
    redis: Redis,
    spans: InMemorySpanExporter,  # noqa: F811
) -> None:
    settings = outbox_settings.model_copy(update={"outbox_streams": [ONE]})
    await db[STREAMS].delete_many({})  # registered with four partitions
    api = await serve(settings)
    files = {"file": ("a.txt", b"hello")}
    answer = await api.post("/files", files=files, data={"folderId": "x"}, headers={"traceparent": CALLER})
    assert answer.status_code == 201

    async with a_world(mongo, db.name, redis) as world:
        assert await (await world.owner()).drain_all() == 1
        [entry] = await world.entries()
        assert entry["traceparent"].split("-")[1] == CALLER.split("-")[1]

    seen: list[int] = []

    async def handle(message: Message, session: Any) -> None:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        done = {"$set": {"parsing": "parsed"}}
        await session.client[db.name].files.update_one({"parsing": "queued"}, done, session=session)
        consumer.stop()

    consumer = Consumer(settings, handle)
    await asyncio.wait_for(consumer.run(), 20)

    expected = int(CALLER.split("-")[1], 16)
    assert seen == [expected]
    names = [span.name for span in spans.get_finished_spans() if span.context and span.context.trace_id == expected]
    assert names == ["append", "publish", "handle"]
    message = await db.outbox.find_one({})
    assert message
    assert message["state"] == "completed"

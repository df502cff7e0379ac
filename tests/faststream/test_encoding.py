"""Fields in FastStream's own format, read by FastStream's own subscribers without a decoder."""

from __future__ import annotations

from typing import Any

import pytest
from faststream.redis import RedisBroker, RedisStreamMessage, StreamSub

from outbox.faststream import encode
from tests.faststream.applications import STREAM, File
from tests.waiting import eventually
from tests.worker.workshop import Workshop

TEXT = 'naïve 文件 🗂️ "quoted" \\ line\nend'


@pytest.mark.parametrize(
    "body", [File(file_id=TEXT, pages=2), {"file_id": TEXT, "pages": [1, None]}, [1, "two"], TEXT, ""]
)
async def test_a_subscriber_of_faststream_reads_what_was_encoded(body: Any, workshop: Workshop, redis_url: str) -> None:
    world, seen = workshop.world, list[Any]()
    async with world.client.start_session() as session, await session.start_transaction():
        await world.outbox.append(session, STREAM, encode(body, headers={"lang": "ü"}), key="a")
    await workshop.owner.drain_all()
    broker = RedisBroker(redis_url)

    @broker.subscriber(stream=StreamSub(STREAM, group="others", consumer="one", last_id="0"))
    async def read(body: Any, message: RedisStreamMessage) -> None:
        seen.append((body, message.headers["lang"], message.raw_message["data"][b"attempt"]))

    async with broker:
        await broker.start()
        await eventually(lambda: seen)
    shown = body.model_dump() if isinstance(body, File) else body
    assert seen == [(shown, "ü", b"1")]


def test_bytes_are_no_text() -> None:
    with pytest.raises(TypeError, match="bytes cannot be a field"):
        encode(b"\x89")

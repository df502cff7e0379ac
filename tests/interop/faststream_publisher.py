"""A FastStream application that adds to the stream as it does by default: one binary field in its own format."""

import asyncio
import os

from faststream.redis import RedisBroker


async def publish() -> None:
    async with RedisBroker(os.environ["REDIS_URL"]) as broker:
        await broker.publish({"file_id": "f1", "filename": "naïve.pdf"}, stream="file_parsing_queue")


asyncio.run(publish())

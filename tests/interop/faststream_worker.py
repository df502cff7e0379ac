"""A FastStream application on the stream."""

import asyncio
import json
import os

from faststream import AckPolicy, FastStream
from faststream.redis import RedisBroker, RedisStreamMessage, StreamSub

broker = RedisBroker(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
app = FastStream(broker)


async def flat(message: RedisStreamMessage) -> dict[str, str]:
    """The fields of an entry. By itself, FastStream expects one field with a body in its own format."""
    return {name.decode(): value.decode() for name, value in message.raw_message["data"].items()}


@broker.subscriber(
    stream=StreamSub("file_parsing_queue", group="file_parsers", consumer="faststream-1"),
    decoder=flat,
    ack_policy=AckPolicy.NACK_ON_ERROR,  # what fails stays in the group: a relay publishes it again, see rescue_seconds
)
async def parse(fields: dict[str, str]) -> None:
    print(json.dumps(fields), flush=True)  # parse the file, and set `parsing` on its record


if __name__ == "__main__":
    asyncio.run(app.run())

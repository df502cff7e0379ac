"""A worker of redis-py and nothing else."""

import json
import os
from typing import Any

from redis import Redis

STREAM, GROUP, CONSUMER = "file_parsing_queue", "file_parsers", "plain-1"


def parse(fields: dict[str, str]) -> None:
    print(json.dumps(fields), flush=True)  # parse the file, and set `parsing` on its record


redis = Redis.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), decode_responses=True, socket_timeout=10
)
start = "0"  # what this consumer was given before a crash comes first
while True:
    reply: Any = redis.xreadgroup(GROUP, CONSUMER, {STREAM: start}, count=10, block=5000)
    for _, entries in reply:
        for entry, fields in entries:
            parse(fields)
            redis.xack(STREAM, GROUP, entry)
        if not entries:
            start = ">"

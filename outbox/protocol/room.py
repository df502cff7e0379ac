"""Room: whether a stream takes more, asked of Redis by all partitions of the stream together."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

from outbox.protocol.script import Script
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream

_ROOM = Script("room")

SHARE = 20
"""Where Redis has lost count of what a group has to be given, it reads up to 10,000 entries to answer, and does nothing
else meanwhile. Then "no" holds for so many times as long as the answer took, for all who ask."""

MOST_SECONDS = 5.0
"""But not for longer: it may have been the way that took long."""


class Room:
    """The questions of one relay."""

    def __init__(self, redis: AnyRedis) -> None:
        self._redis = redis
        self._asking = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self._full_until: dict[str, float] = {}

    async def is_there(self, stream: Stream, most: int) -> bool:
        """Whether the stream's group has still to be given `most` entries, or fewer."""
        async with self._asking[stream.key]:
            began = time.monotonic()
            if began < self._full_until.get(stream.key, 0.0):
                return False
            there, counted = await _ROOM.run(self._redis, [stream.key], [stream.group, most])
            if counted and not there:
                took = time.monotonic() - began
                self._full_until[stream.key] = began + took + min(MOST_SECONDS, SHARE * took)
            return bool(there)

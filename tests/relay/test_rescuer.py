"""Rescue, stream by stream."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.message.outcome import Found
from outbox.streams.declaration import Stream, Streams
from outbox_relay.rescuer import Rescuer


class Rescue:
    """Of which one stream is on a node that is away."""

    def __init__(self) -> None:
        self.looked_at: list[str] = []

    async def times_ahead(self, stream: Stream) -> int:
        return 0

    async def abandoned(self, stream: Stream) -> Found:
        if stream.name == "alpha":
            raise RedisConnectionError("away")
        self.looked_at.append(stream.name)
        return Found()

    async def vanished(self, stream: Stream, partition: object) -> Found:
        return Found()

    async def held(self, stream: Stream) -> list[Any]:
        return []


async def test_a_stream_that_fails_does_not_keep_the_others_from_being_rescued() -> None:
    streams = Streams([Stream(name, "workers", 2) for name in ("alpha", "beta", "delta")])
    rescue = Rescue()
    with pytest.raises(RedisConnectionError):
        await Rescuer(streams, cast(Any, rescue), lambda: [*streams.partitions()]).run_once()
    assert rescue.looked_at == ["beta", "delta"]

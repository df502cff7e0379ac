"""Depth: how many entries a stream has, and how many of them wait for a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from outbox.database import Document
from outbox.delivery.entries import not_there
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream

LOOK_AHEAD = 1000
"""How many undelivered entries are counted one by one where Redis itself has lost count."""


@dataclass(frozen=True, slots=True)
class Depth:
    """A stream in numbers, each None when it is not known.

    `length`: entries in the stream. `undelivered`: of those, the ones that no worker of the group has been given yet.
    `unacknowledged`: given to a worker, and not acknowledged.
    """

    length: int | None = None
    undelivered: int | None = None
    unacknowledged: int | None = None

    def as_json(self) -> Document:
        return {
            "length": self.length, "undelivered": self.undelivered, "unacknowledged": self.unacknowledged,
        }  # fmt: skip


async def depth_of(redis: AnyRedis, stream: Stream) -> Depth:
    """Raises what Redis raises: of a stream that it may not be asked about, nothing is known, which is not nothing."""
    length = await redis.xlen(stream.key)
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(stream.key)
    except ResponseError as error:
        if not not_there(error):
            raise
        groups = []  # the stream is not there yet, and so neither is its group
    group = next((group for group in groups if group["name"] == stream.group), None)
    if group is None:
        return Depth(length, length, 0)
    undelivered, after = lag_of(group), f"({group['last-delivered-id']}"
    if undelivered is None:
        # Redis loses count when entries were deleted from the middle of a stream.
        rest = await redis.xrange(stream.key, after, "+", count=LOOK_AHEAD + 1) or []
        undelivered = len(rest) if len(rest) <= LOOK_AHEAD else None
    elif undelivered and not await redis.xrange(stream.key, after, "+", count=1):
        undelivered = 0  # whoever set the group gave a count that is too low
    return Depth(length, undelivered, group["pending"])


def lag_of(group: dict[str, Any]) -> int | None:
    """How many entries a group has not been given, as Redis has counted. None: not known.

    Who sets a group can give a wrong count (`ENTRIESREAD`), so that less than nothing is left.
    """
    lag = group.get("lag")
    return None if lag is None or lag < 0 else int(lag)

"""What the system before the outbox has left in a stream: entries without a message that still wait for a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from redis.exceptions import ResponseError

from outbox.delivery.entries import not_there
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream
from outbox.streams.entry_ids import EntryId

PAGE = 1000


async def waiting_files(redis: AnyRedis, stream: Stream) -> set[str]:
    """The files that entries without a `message_id` speak of and no worker of the group has acknowledged.

    They are kept in memory: about 100 MB for a million.
    """
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(stream.key)
    except ResponseError as error:
        if not_there(error):
            return set()
        raise
    group = next((group for group in groups if group["name"] == stream.group), None)
    if group is None:
        return {file async for _, file in _files(redis, stream, "-", "+")}
    # First what is in nobody's hands: what is taken meanwhile is found among the others, then, and not missed.
    reached = group["last-delivered-id"]
    waiting = {file async for _, file in _files(redis, stream, f"({reached}", "+")}
    hands = {entry async for entry in _in_hands(redis, stream)}
    if hands:
        first = min(hands, key=EntryId.parse)
        waiting |= {file async for entry, file in _files(redis, stream, first, reached) if entry in hands}
    return waiting


async def _files(redis: AnyRedis, stream: Stream, start: str, end: str) -> AsyncIterator[tuple[str, str]]:
    while True:
        page = cast(list[tuple[str, dict[str, str]]], await redis.xrange(stream.key, start, end, count=PAGE))
        for entry, fields in page:
            if "message_id" not in fields and "file_id" in fields:
                yield entry, fields["file_id"]
        if len(page) < PAGE:
            return
        start = f"({page[-1][0]}"


async def _in_hands(redis: AnyRedis, stream: Stream) -> AsyncIterator[str]:
    start = "-"
    while True:
        page: list[Any] = await redis.xpending_range(stream.key, stream.group, start, "+", PAGE)
        for pending in page:
            yield pending["message_id"]
        if len(page) < PAGE:
            return
        start = f"({page[-1]['message_id']}"

"""Foreign entries: what others have added to a stream, and no message is about, as far as it waits for a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

from redis.exceptions import ResponseError

from outbox.delivery.entries import Entries, Entry, not_there
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream

PAGE = 1000


async def waiting_keys(redis: AnyRedis, stream: Stream) -> AsyncIterator[str]:
    """The `file_id` of each entry without a `message_id` that no worker of the group has acknowledged.

    It is the key of the message that a worker of ours makes of the entry.
    """
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(stream.key)
    except ResponseError as error:
        if not_there(error):
            return
        raise
    entries = Entries(redis, "nobody")  # only reads
    group = next((group for group in groups if group["name"] == stream.group), None)
    # First what is in nobody's hands: what is taken meanwhile has been seen by then, and is not missed.
    async for page in entries.walk(stream, f"({group['last-delivered-id']}" if group else "-", "+"):
        for key in _keys(page):
            yield key
    if group is None:
        return
    async for held in _in_hands(redis, stream):
        ids = set(held)
        async for page in entries.walk(stream, held[0], held[-1]):
            for key in _keys(entry for entry in page if entry.id in ids):
                yield key


def _keys(entries: Iterable[Entry]) -> list[str]:
    return [e.fields["file_id"] for e in entries if "message_id" not in e.fields and "file_id" in e.fields]


async def _in_hands(redis: AnyRedis, stream: Stream) -> AsyncIterator[list[str]]:
    start = "-"
    while page := await redis.xpending_range(stream.key, stream.group, start, "+", PAGE):
        ids = [str(pending["message_id"]) for pending in cast(list[dict[str, Any]], page)]
        yield ids
        start = f"({ids[-1]}"

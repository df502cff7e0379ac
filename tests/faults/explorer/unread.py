"""Unread: entries that others have removed before anybody was given them, until a relay has seen that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from outbox.database import LENIENT, OUTBOX
from outbox.streams.entry_ids import EntryId

if TYPE_CHECKING:
    from tests.faults.explorer.world import World


class Unread:
    """Of one exploration. Nobody may read on meanwhile: behind the group, nothing tells such an entry from one that a
    worker has acknowledged and deleted, as docs/streams.md says."""

    def __init__(self, stream: str) -> None:
        """`stream`: its key in Redis."""
        self._stream = stream
        self._removed: dict[ObjectId, tuple[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._removed)

    def add(self, message: ObjectId, entry: str, attempt: int) -> None:
        self._removed[message] = entry, attempt

    async def seen(self, world: World) -> bool:
        """None of their messages counts as published by an entry that is gone. AssertionError otherwise."""
        messages = world.database[OUTBOX].with_options(codec_options=LENIENT)
        query = {"_id": {"$in": list(self._removed)}, "state": "published"}
        fields = {"attempts": 1, "entries": 1, "partition": 1, "batch": 1}
        stand = [message async for message in messages.find(query, fields) if await self._stands(world, message)]
        if stand:
            entry, _ = self._removed[stand[0]["_id"]]
            raise AssertionError(f"G1: {entry} was removed unread, and {len(stand)} such stay published: {stand[0]}")
        self._removed.clear()
        return True

    async def _stands(self, world: World, message: Mapping[str, Any]) -> bool:
        entry, attempt = self._removed[message["_id"]]
        first, last = (EntryId.parse(message["entries"][end]) for end in ("first", "last"))
        if message["attempts"] != attempt or not first <= EntryId.parse(entry) <= last:
            return False  # it was published again, after a loss under the same attempt
        return not await world.do("XRANGE", self._stream, entry, entry)  # or Redis has lost that it was removed

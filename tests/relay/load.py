"""Appends while something happens to relays, and a watch for partitions that nobody owns meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any

from outbox import Outbox
from outbox.database import PARTITIONS, Database, Document
from tests.relay.world import World
from tests.waiting import pass_by

GAP_SECONDS = 0.5
"""Between two looks no more than this counts: relays of this process stand still when it does, and so does MongoDB."""


class Watch:
    """Looks at the leases again and again: for how long was a partition seen without an owner, at least?"""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since: dict[str, float] = {}
        self._passed = self._looked = 0.0
        self.longest = 0.0

    async def run(self) -> None:
        without: Document = {"$or": [{"owner": None}, {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}]}
        while True:
            found = await self._database[PARTITIONS].find(without).to_list()
            before, self._looked = self._looked, time.monotonic()
            self._passed += min(self._looked - before, GAP_SECONDS)
            self._since = {which: self._since.get(which, self._passed) for which in map(_which, found)}
            self.longest = max([self.longest, *(self._passed - since for since in self._since.values())])
            await pass_by(0.05)


def _which(lease: Document) -> str:
    return f"{lease['_id']} {lease['token']}"


class Load:
    """Appends to one stream, some keys, until it is stopped; remembers the order of each key."""

    def __init__(self, world: World, outbox: Outbox, stream: str, keys: list[str]) -> None:
        self._world, self._outbox, self._stream, self._keys = world, outbox, stream, keys
        self.stopped = asyncio.Event()
        self.committed: defaultdict[str, list[str]] = defaultdict(list)

    async def run(self) -> None:
        while not self.stopped.is_set():
            for key in self._keys:
                self.committed[key].append(str(await append(self._world, self._outbox, self._stream, key)))
            await pass_by(0.01)


async def append(world: World, outbox: Outbox, stream: str, key: str) -> Any:
    async def body(session: Any) -> Any:
        await world.database.application.records.update_one(
            {"_id": key}, {"$inc": {"n": 1}}, upsert=True, session=session
        )
        return await outbox.append(session, stream, {"k": key}, key=key)

    async with world.client.start_session() as session:
        return await session.with_transaction(body)

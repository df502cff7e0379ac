"""Appends at a given rate, and the account of what has come of them."""

from __future__ import annotations

import asyncio
from itertools import count

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from outbox import Outbox
from outbox.database import OUTBOX, Database
from outbox.message.document import State
from tests.waiting import eventually, pass_by

APPEND_SECONDS = 20
KEYS = 100
MOST_UNDER_WAY = 50
"""While MongoDB is away, appends wait; more than so many would be an application that knows no limit."""


class Traffic:
    """Numbers go out as messages and come back as effects of their handlers: each once, and none is missing."""

    def __init__(self, database: Database, outbox: Outbox, stream: str) -> None:
        self._database, self._outbox, self._stream = database, outbox, stream
        self._numbers = count()
        self.committed: set[int] = set()
        self.in_doubt: set[int] = set()
        """Appends that raised. They may have been committed all the same."""
        self.handled: set[int] = set()
        self.twice: set[int] = set()

    async def at_rate(self, rate: float, ended: asyncio.Event) -> None:
        """Append until `ended`, at fixed times as long as MongoDB keeps up. Returns when all that was begun is done."""
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(MOST_UNDER_WAY)
        due = loop.time()
        async with asyncio.TaskGroup() as appends:
            while not ended.is_set():
                await places.acquire()
                appends.create_task(self._append()).add_done_callback(lambda _: places.release())
                due = max(due + 1 / rate, loop.time() - 1)
                await pass_by(max(0.0, due - loop.time()))

    async def _append(self) -> None:
        number = next(self._numbers)

        async def body(session: AsyncClientSession) -> None:
            fields = {"number": str(number)}
            await self._outbox.append(session, self._stream, fields, key=str(number % KEYS))

        self.in_doubt.add(number)
        try:
            with pymongo.timeout(APPEND_SECONDS):
                async with self._database.client.start_session() as session:
                    await session.with_transaction(body)
        except PyMongoError:
            return
        self.in_doubt.remove(number)
        self.committed.add(number)

    async def collect(self) -> None:
        """Enter what has been handled since the last time into the account, and take it out of the database.

        PyMongoError when MongoDB is away: the next time goes on with the same.
        """
        effects = self._database.application.effects
        found = [effect["_id"] async for effect in effects.find()]
        self.twice |= self.handled.intersection(found)
        # Taken out for certain before they count: what is seen after that was handled again.
        await eventually(lambda: self._gone(found), 120, what="effects are taken out")
        self.handled.update(found)

    async def _gone(self, found: list[int]) -> bool:
        try:
            await self._database.application.effects.delete_many({"_id": {"$in": found}})
        except PyMongoError:
            return False
        return True

    async def violations(self) -> list[str]:
        """What is not as promised, by now: once nothing is appended any more, and all has come to rest, nothing."""
        await self.collect()
        found = {
            "were committed and not handled": self.committed - self.handled,
            "were handled twice": self.twice,
            "were handled and never appended": self.handled - self.committed - self.in_doubt,
        }
        said = [f"{len(numbers)} messages {what}: {sorted(numbers)[:5]}" for what, numbers in found.items() if numbers]
        dead = await self._database[OUTBOX].count_documents({"state": State.DEAD.value})
        return said + [f"{dead} messages are dead"] * bool(dead)

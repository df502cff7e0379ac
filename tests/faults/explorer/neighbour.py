"""Another application with an outbox of its own, in the same database and on the same Redis."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from outbox.database import OUTBOX, Document
from outbox.worker import Consumer
from tests.faults.neighbours import Application
from tests.faults.relays import in_this_process
from tests.worker.processes import at_work

NAME = "shop"
SECONDS = 20


class Neighbour:
    """Its relay and its worker run in this process, on good networks."""

    def __init__(self, seed: int, client: AsyncMongoClient[Document], uri: str, database: str, redis_url: str) -> None:
        # Apart by a prefix of keys, or by the names of its streams alone.
        apart = {"outbox_redis_prefix": f"{NAME}:"} if random.Random(f"{seed} neighbour").random() < 0.5 else {}
        place: dict[str, Any] = {"mongodb_uri": uri, "mongodb_database": database, "outbox_prefix": f"{NAME}_outbox"}
        self.application = Application(client, NAME, redis_url=redis_url, **place, **apart)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        await self.application.set_up()
        settings = self.application.settings
        consumer = Consumer(settings, self.application.handle, concurrency=5, silent_seconds=3, stop_seconds=5)
        async with in_this_process(settings), at_work(consumer):
            yield

    async def order(self, count: int) -> None:
        """So many orders in one transaction; if MongoDB fails meanwhile, perhaps none."""
        with suppress(PyMongoError), pymongo.timeout(SECONDS):
            await self.application.place_orders(count)

    async def verdict(self) -> list[str]:
        """G1 and G6, as the application sees them."""
        orders = self.application.database.application[self.application.orders]
        messages = self.application.database[OUTBOX]
        found = [
            f"G6: the neighbour's order {order['_id']} is {order['status']}, handled {order['handled']} times"
            async for order in orders.find({"$or": [{"status": {"$ne": "done"}}, {"handled": {"$ne": 1}}]})
        ]
        states = {"state": {"$ne": "completed"}}
        found += [f"G1: the neighbour's {one['_id']} is {one['state']}" async for one in messages.find(states)]
        placed, written = await orders.count_documents({}), await messages.count_documents({})
        return found + ([f"G1: the neighbour has {placed} orders and {written} messages"] if placed != written else [])


def has_a_neighbour(seed: int) -> bool:
    return random.Random(f"{seed} neighbours").random() < 0.35

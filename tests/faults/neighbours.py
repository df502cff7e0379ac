"""Applications that share servers: each with an outbox, a relay and a worker of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import Outbox
from outbox.database import Document
from outbox.message import schema
from outbox.servers.connections import open_database
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer, Message
from tests.faults.relays import in_this_process
from tests.waiting import eventually
from tests.worker.processes import at_work

PAGE = 50


class Application:
    """One that writes orders and messages about them, and handles these. `settings` are its environment."""

    def __init__(
        self, client: AsyncMongoClient[Document], name: str, *, stream: str | None = None, **settings: Any
    ) -> None:
        self.name = name
        self.orders = f"{name}_orders"
        self.stream = stream or f"{name}_stream"
        subject = {"collection": self.orders, "field": "status", "wanted": "new"}
        self.settings = load(
            OutboxSettings,
            outbox_streams=[{"name": self.stream, "group": f"{name}_workers", "partitions": 2, "subject": subject}],
            **settings,
        )
        self.client = client
        self.database = open_database(client, self.settings.place)
        place = self.settings.place
        self.outbox = Outbox(self.settings.streams, database=place.database, prefix=place.prefix)
        self.handled: Counter[str] = Counter()

    async def set_up(self) -> list[str]:
        return await schema.ensure(self.database, self.settings.streams)

    async def place_orders(self, count: int) -> None:
        """So many messages, in transactions of some each, with the orders that they speak of."""
        for start in range(0, count, PAGE):
            await self._place([ObjectId() for _ in range(min(PAGE, count - start))])

    async def _place(self, ids: list[ObjectId]) -> None:
        async def body(session: AsyncClientSession) -> None:
            orders = [{"_id": id_, "status": "new", "handled": 0} for id_ in ids]
            await self.database.application[self.orders].insert_many(orders, session=session)
            for id_ in ids:
                await self.outbox.append(session, self.stream, {"order": str(id_)}, key=str(id_))

        async with self.client.start_session() as session:
            await session.with_transaction(body)

    async def handle(self, message: Message, session: AsyncClientSession) -> None:
        self.handled[message.key] += 1
        orders = session.client[self.settings.mongodb_database][self.orders]
        change = {"$set": {"status": "done"}, "$inc": {"handled": 1}}
        await orders.update_one({"_id": ObjectId(message.key)}, change, session=session)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        # A lease that runs out while this process gets no turn would have messages fenced beside their handlers.
        leased = in_this_process(self.settings, relay_lease_seconds=30)
        async with leased, at_work(Consumer(self.settings, self.handle, concurrency=20)):
            yield

    async def all_done(self, count: int) -> bool:
        """So many orders are there, each handled once, and each message is completed."""
        once = await self.database.application[self.orders].count_documents({"status": "done", "handled": 1})
        return once == count and await self.database["outbox"].count_documents({"state": "completed"}) == count

    async def comes_to_rest(self, count: int, seconds: float = 60) -> None:
        await eventually(
            lambda: self.all_done(count), seconds, what=f"{self.name} has handled all of its {count} orders"
        )

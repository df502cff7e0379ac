"""An application that writes its orders and the outbox by one call, to a MongoDB of any version."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient, InsertOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import Outbox, Streams
from outbox.database import OUTBOX, Database, Document
from outbox.streams.declaration import FILE_STREAM, FILES
from outbox.writes import Write
from tests.outbox.stand_in import StandIn

Client = AsyncMongoClient[Document]
STREAMS = Streams([FILES])
OTHERS = "invoices.of.2026"
"""A second collection of it."""


class Shop:
    """Appends in transactions, each of which writes to `orders` by the same call."""

    def __init__(self, client: Client, database: str, server: StandIn, uri: str) -> None:
        self.client = client
        self.uri = uri
        self.server = server
        self.database = Database(client, database)
        self.orders = client[database]["orders"]
        self.outbox = Outbox(STREAMS, database=database)

    def insert(self, order: Document) -> Write:
        return InsertOne(order, namespace=self.orders.full_name)

    def update(self, order: ObjectId, change: Document, **more: Any) -> Write:
        return UpdateOne({"_id": order}, change, namespace=self.orders.full_name, **more)

    async def append(self, writes: list[Write], **more: Any) -> ObjectId:
        async def body(session: AsyncClientSession) -> ObjectId:
            return await self.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=writes, **more)

        async with self.client.start_session() as session:
            return await session.with_transaction(body)

    async def counts(self) -> tuple[int, int]:
        """Orders and messages."""
        return await self.orders.count_documents({}), await self.database[OUTBOX].count_documents({})

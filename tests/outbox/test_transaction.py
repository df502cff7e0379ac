"""What becomes of a transaction when the replies to its commit are lost, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from outbox import CommitUnknown, transaction
from outbox.connections import connect_mongo
from outbox.embedded import Mongod
from outbox.schema import Document
from outbox.settings import OutboxSettings, load

SECONDS = 1.0


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod that fails commands on demand."""
    parameters = ["--setParameter", "enableTestCommands=1"]
    with Mongod(tmp_path_factory.mktemp("faulty"), extra_args=parameters) as server:
        with server.client() as client:
            client.test.create_collection("accounts")
        yield server


class Account:
    """A document that a transaction raises by one, and the question whether it did."""

    def __init__(self, client: AsyncMongoClient[Document], name: str) -> None:
        self.client = client
        self.accounts = client.test.accounts
        self.name = name
        self.asked = 0

    async def body(self, session: AsyncClientSession) -> str:
        await self.accounts.insert_one({"_id": self.name}, session=session)
        return "returned"

    async def happened(self) -> bool:
        self.asked += 1
        # Waits for the transaction, which wrote the same document.
        await self.accounts.update_one({"_id": self.name}, {"$inc": {"asked": 1}}, upsert=True)
        found = await self.accounts.find_one_and_delete({"_id": self.name, "asked": 1, "never": {"$exists": False}})
        return found is not None


class Proxy:
    """Carries bytes to a mongod and back. The next `lose` commits arrive there, and their replies are lost."""

    def __init__(self, server: Mongod) -> None:
        self._server = server
        self.lose = 0
        self.lost = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncMongoClient[Document]]:
        listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, connect_mongo(
            load(OutboxSettings, mongodb_uri=f"mongodb://127.0.0.1:{port}/?directConnection=true")
        ) as client:
            yield client

    async def _carry(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(self._server.host, self._server.port)
        try:
            async with asyncio.TaskGroup() as both:
                pass
        finally:
            writer.close()
            client_writer.close()

"""A way to a mongod on which replies get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymongo import AsyncMongoClient

from outbox.database import Document
from outbox.embedded import Mongod
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from tests.listener import Listener


class Proxy:
    """Carries bytes to a mongod and back. The next `lose` commits arrive there, and the replies to them are lost."""

    def __init__(self, server: Mongod) -> None:
        self._server = server
        self.lose = 0
        self.lost = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncMongoClient[Document]]:
        """A client whose connections all lead through here."""
        async with Listener(self._carry) as listener:
            uri = f"mongodb://127.0.0.1:{listener.port}/?directConnection=true"
            async with connect_mongo(load(OutboxSettings, mongodb_uri=uri)) as client:
                yield client

    async def _carry(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self._server.host, self._server.port)
        committing = False

        async def requests() -> None:
            nonlocal committing
            while data := await from_client.read(65536):
                committing = b"commitTransaction" in data
                to_server.write(data)

        async def replies() -> None:
            while data := await from_server.read(65536):
                if committing and self.lost < self.lose:
                    self.lost += 1
                    return
                to_client.write(data)

        directions = [asyncio.create_task(requests()), asyncio.create_task(replies())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            to_server.close()

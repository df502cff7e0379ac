"""A handler whose effects can be counted."""

from __future__ import annotations

import asyncio

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.worker import Message
from tests.worker.workshop import Workshop


class Parser:
    """A handler that leaves an effect for each call that lasts, and parses the file."""

    def __init__(self, workshop: Workshop) -> None:
        self._name = workshop.world.database.name
        self._database = workshop.world.database
        self.messages: list[Message] = []
        self.work: asyncio.Event | None = None
        """Waited for before anything is written."""
        self.gate: asyncio.Event | None = None
        """Waited for when all is written, and the transaction is still open."""
        self.at_gate = 0
        """How many have come so far."""

    async def __call__(self, message: Message, session: AsyncClientSession) -> None:
        self.messages.append(message)
        if self.work:
            await self.work.wait()
        database = session.client[self._name]
        await database.effects.insert_one({"message": message.id}, session=session)
        await database.files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)
        if self.gate:
            self.at_gate += 1
            await self.gate.wait()

    async def effects(self) -> list[ObjectId]:
        return [effect["message"] async for effect in self._database.effects.find().sort("message")]

"""Databases that go from test to test, emptied: to make the collections of an outbox takes longer than most tests."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

from outbox.database import META, Database
from outbox.embedded import Mongod
from outbox.message import schema
from outbox.message.collection import Part
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES, Streams

Client = MongoClient[dict[str, Any]]


class Databases:
    """Those of one mongod that have the collections of an outbox with `parts`, and nothing in them."""

    def __init__(self, mongod: Mongod, *parts: Part) -> None:
        self._mongod, self._parts = mongod, parts
        self._as_made: dict[str, Any] | None = None
        self._meta: dict[str, Any] = {}
        self._spare: list[str] = []
        self._of: int | None = None

    def lend(self) -> str:
        """The name of one, or of one that is not there yet: `schema.ensure` makes what is missing, and documents."""
        if self._of != self._mongod.pid:
            self._spare.clear()  # who was killed may count documents that are gone
        self._of = self._mongod.pid
        return self._spare.pop() if self._spare else f"test_{uuid4().hex[:12]}"

    def take_back(self, client: Client, name: str) -> None:
        """Keep it for the next test, unless a collection or index is no longer as an outbox has it: then drop it."""
        if self._as_made is None:
            self._as_made = self._made_anew(client)
        found = _catalogue(client, name)
        others = [found.pop(collection) and collection for collection in found.keys() - self._as_made.keys()]
        if self._of != self._mongod.pid or found != self._as_made:
            client.drop_database(name)
            return
        for collection in others:
            client[name].drop_collection(collection)
        for collection in self._as_made:
            client[name][collection].delete_many({})
        client[name][META].insert_one({**self._meta, "identity": uuid4().hex})
        self._spare.append(name)

    def _made_anew(self, client: Client) -> dict[str, Any]:
        name = f"test_{uuid4().hex[:12]}"

        async def make() -> None:
            async with connect_mongo(load(OutboxSettings, mongodb_uri=self._mongod.uri)) as connected:
                await schema.ensure(Database(connected, name), Streams([FILES]), *self._parts)

        asyncio.run(make())
        self._meta = client[name][META].find_one() or {}
        found = _catalogue(client, name)
        client.drop_database(name)
        return found


def _catalogue(client: Client, name: str) -> dict[str, Any]:
    """Its collections and indexes with their options, and whether an index has met a list, which it never forgets."""
    stages: list[dict[str, Any]] = [{"$listCatalog": {}}, {"$match": {"db": name}}]
    return {found["name"]: (found["type"], _described(found.get("md", {}))) for found in client.admin.aggregate(stages)}


def _described(options: dict[str, Any]) -> Any:
    indexes = {index["spec"]["name"]: (index["spec"], index.get("multikey")) for index in options.get("indexes", ())}
    return {**options.get("options", {}), "uuid": None}, indexes

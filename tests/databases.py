"""Databases that go from test to test, emptied: to make the collections of an outbox takes longer than most tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

from outbox.database import META, OUTBOX, Database
from outbox.embedded import Mongod
from outbox.message import schema
from outbox.message.collection import Part
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox.streams import registry
from outbox.streams.declaration import FILES, Streams

Client = MongoClient[dict[str, Any]]
Catalogue = dict[str, Any]
"""Collections and indexes with their options, and whether an index has met a list, which it never forgets."""

_EMPTIED: dict[str, tuple[Part, ...]] = {}
"""With the collections of these, and nothing in them."""


MANY = 5000
"""Messages, to delete which one by one takes longer than to make a database, and in the end than a client waits."""


async def set_up(database: Database, streams: Streams, *parts: Part) -> None:
    """As `schema.ensure`, which looks at each collection and index; not so where they are known to be there."""
    there = _EMPTIED.pop(database.name, None)
    if there is not None and set(parts) <= set(there):
        await registry.register(database, streams)
    else:
        await schema.ensure(database, streams, *parts)


class Databases:
    """Those of one mongod that have the collections of an outbox with `parts`, and nothing in them."""

    def __init__(self, mongod: Mongod, *parts: Part) -> None:
        self._mongod, self._parts = mongod, parts
        self._spare: list[str] = []
        self._of: int | None = None
        with mongod.client() as client:
            self._as_made, self._meta = self._made_anew(client)  # now: later, a test may have changed what is made

    def lend(self) -> str:
        """The name of one, or of one that is not there yet, for `set_up`."""
        if self._of != self._mongod.pid:
            self._spare.clear()  # who was killed may count documents that are gone
        self._of = self._mongod.pid
        return self._spare.pop() if self._spare else f"test_{uuid4().hex[:12]}"

    def take_back(self, client: Client, name: str) -> None:
        """Keep it for the next test; drop it if it holds much, or a collection or index is not as it was made."""
        found = _catalogue(client, name)
        others = [found.pop(collection) and collection for collection in found.keys() - self._as_made.keys()]
        many = client[name][OUTBOX].estimated_document_count() > MANY
        if many or self._of != self._mongod.pid or found != self._as_made:
            client.drop_database(name)
            return
        for collection in others:
            client[name].drop_collection(collection)
        for collection in self._as_made:
            client[name][collection].delete_many({})
        client[name][META].insert_one({**self._meta, "identity": uuid4().hex})
        _EMPTIED[name] = self._parts
        self._spare.append(name)

    def _made_anew(self, client: Client) -> tuple[Catalogue, dict[str, Any]]:
        name = f"test_{uuid4().hex[:12]}"

        async def make() -> None:
            async with connect_mongo(load(OutboxSettings, mongodb_uri=self._mongod.uri)) as connected:
                await schema.ensure(Database(connected, name), Streams([FILES]), *self._parts)

        asyncio.run(make())
        meta = client[name][META].find_one()
        assert meta, "it is known by that"
        found = _catalogue(client, name)
        client.drop_database(name)
        return found, meta


def _catalogue(client: Client, name: str) -> Catalogue:
    return _described(client.admin.aggregate(_of(name)))


async def catalogue(database: Database) -> Catalogue:
    return _described(await (await database.client.admin.aggregate(_of(database.name))).to_list())


def _of(name: str) -> list[dict[str, Any]]:
    return [{"$listCatalog": {}}, {"$match": {"db": name}}]


def _described(collections: Iterable[dict[str, Any]]) -> Catalogue:
    described = {}
    for one in collections:
        about = one.get("md", {})
        indexes = {index["spec"]["name"]: (index["spec"], index.get("multikey")) for index in about.get("indexes", ())}
        described[one["name"]] = one["type"], {**about.get("options", {}), "uuid": None}, indexes
    return described

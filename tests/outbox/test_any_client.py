"""Applications bring clients of their own, with options for their own documents: the outbox works as ever."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from bson import SON, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.server_api import ServerApi

from outbox import Draft, Outbox, Streams
from outbox.database import OUTBOX, STREAMS, Database
from outbox.streams.declaration import FILE_STREAM

OPTIONS: dict[str, dict[str, Any]] = {
    "raw documents": {"document_class": RawBSONDocument},
    "documents of a kind": {"document_class": SON},
    "dates as numbers": {"datetime_conversion": "DATETIME_MS"},
    "UUIDs of Java": {"uuidRepresentation": "javaLegacy"},
    "reads at secondaries": {"readPreference": "secondaryPreferred"},
    "one connection": {"maxPoolSize": 1, "waitQueueTimeoutMS": 5000},
    "the stable API": {"server_api": ServerApi("1", strict=True, deprecation_errors=True)},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
async def test_a_client_of_any_kind_appends(
    options: dict[str, Any], mongodb_uri: str, db: Database, streams: Streams
) -> None:
    drafts = [
        Draft({"a": "b"}, key="k", unique="u"),
        Draft({"a": "b"}, subject=uuid4(), available_at=datetime.now(UTC)),
    ]
    async with AsyncMongoClient[Any](mongodb_uri, **options) as client:
        outbox = Outbox(streams, database=db.name)
        await outbox.check(client)
        assert await outbox.register(client) == []

        async def first(session: AsyncClientSession) -> list[ObjectId]:
            return await outbox.append_many(session, FILE_STREAM, drafts)

        async def second(session: AsyncClientSession) -> ObjectId:
            return await outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", unique="u")

        async with client.start_session() as session:
            assert await session.with_transaction(first) == [draft.id for draft in drafts]
            assert await session.with_transaction(second) == drafts[0].id
    with MongoClient[Any](mongodb_uri, **options) as plain, plain.start_session() as plain_session:
        outbox = Outbox(streams, database=db.name)
        outbox.check(plain)

        def third(session: ClientSession) -> ObjectId:
            return outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", unique="u")

        assert plain_session.with_transaction(third) == drafts[0].id
    assert await db[OUTBOX].count_documents({}) == 2


async def test_streams_are_registered_by_the_majority_whatever_the_client_asks_for(
    mongodb_uri: str, db: Database, streams: Streams
) -> None:
    await db[STREAMS].delete_many({})
    async with AsyncMongoClient[Any](mongodb_uri, w=0, readConcernLevel="linearizable") as client:
        done = await Outbox(streams, database=db.name).register(client)
    assert done == [f"registered stream {FILE_STREAM}"]

from __future__ import annotations

import asyncio

import pytest
from pymongo import AsyncMongoClient

from outbox import SchemaError, Streams
from outbox.database import META, Database, Document
from outbox.message import meta, schema


async def test_the_identity_is_made_once(db: Database, streams: Streams) -> None:
    made = await meta.identity(db)
    assert len(made) == 32
    await schema.ensure(db, streams)
    assert await meta.identity(db) == made


async def test_a_process_that_was_slower_keeps_the_identity(db: Database) -> None:
    """What it does was decided when there was none yet."""
    made = await meta.identity(db)
    for _, do in meta.steps(db, meta.Known(), ()):
        await do()
    assert await meta.identity(db) == made


async def test_two_outboxes_have_two_identities(
    db: Database, mongo: AsyncMongoClient[Document], streams: Streams
) -> None:
    other = Database(mongo, f"{db.name}_other")
    try:
        await schema.ensure(other, streams)
        assert await meta.identity(other) != await meta.identity(db)
    finally:
        await mongo.drop_database(other.name)


async def test_several_that_make_it_at_once_find_the_same_one(
    mongo: AsyncMongoClient[Document], database: str, streams: Streams
) -> None:
    async def setting_up() -> str:
        await schema.ensure(Database(mongo, database), streams)
        return await meta.identity(Database(mongo, database))

    assert len(set(await asyncio.gather(*(setting_up() for _ in range(8))))) == 1
    assert await mongo[database][META].count_documents({}) == 1


async def test_a_database_without_an_outbox_has_none(mongo: AsyncMongoClient[Document], database: str) -> None:
    with pytest.raises(SchemaError, match="Run: outbox init"):
        await meta.identity(Database(mongo, database))


async def test_a_database_of_the_version_before_needs_init(db: Database, streams: Streams) -> None:
    for collection in schema.COLLECTIONS:
        if collection.since > 1:
            await db[collection.name].drop()
    with pytest.raises(SchemaError, match="outbox_meta is missing"):
        await schema.check(db, streams)
    await schema.ensure(db, streams)
    await meta.identity(db)


async def test_an_outbox_without_an_identity_is_not_set_up(db: Database, streams: Streams) -> None:
    await db[META].delete_many({})
    with pytest.raises(SchemaError, match="no identity"):
        await schema.check(db, streams)

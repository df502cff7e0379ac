"""A record and its message by one call: in one request where MongoDB has `bulkWrite`, else one after the other.

Both ways run here against a real mongod 6.0; the first one through a stand-in for MongoDB 8.0, see `stand_in`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateMany, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

from outbox import Draft, NoSuchRecord, NoTransaction, UsageError
from outbox.database import OUTBOX, Document
from outbox.streams.declaration import FILE_STREAM
from outbox.writes import Write
from tests.outbox.shop import OTHERS, Shop
from tests.outbox.stand_in import OF_8_0

IN_ONE = ["bulkWrite", "commitTransaction"]


async def test_record_and_message_are_committed_together(shop: Shop, version: int) -> None:
    order = ObjectId()
    message = await shop.append([shop.insert({"_id": order, "state": "new"})])
    assert await shop.counts() == (1, 1)
    stored = await shop.database[OUTBOX].find_one({"_id": message})
    assert stored
    assert (stored["state"], stored["key"], stored["fields"]) == ("pending", "k", {"a": "b"})
    assert stored["position"].time > 0, "the server has given it"
    assert shop.server.sent == (IN_ONE if version == OF_8_0 else ["insert", "insert", "commitTransaction"])
    shop.server.sent.clear()
    await shop.append([])
    assert shop.server.sent == ["insert", "commitTransaction"], "as ever"


async def test_every_kind_of_write_in_the_order_given(shop: Shop, version: int) -> None:
    kept, gone, new = ObjectId(), ObjectId(), ObjectId()
    await shop.orders.insert_many([{"_id": kept, "n": 1}, {"_id": gone}])
    others = shop.database.application[OTHERS]
    writes: list[Write] = [
        shop.update(kept, {"$inc": {"n": 1}}),
        shop.update(kept, [{"$set": {"n": {"$multiply": ["$n", 10]}}}]),  # type: ignore[arg-type]
        DeleteOne({"_id": gone}, namespace=shop.orders.full_name),
        shop.update(new, {"$set": {"n": 5}}, upsert=True),
        ReplaceOne({"_id": new}, {"n": 6}, namespace=shop.orders.full_name),
        InsertOne({"_id": 1}, namespace=others.full_name),
    ]
    ids = await asyncio.wait_for(_append_many(shop, writes, 3), 30)
    assert [(one["_id"], one["n"]) async for one in shop.orders.find().sort("n")] == [(new, 6), (kept, 20)]
    assert await others.count_documents({}) == 1
    stored = shop.database[OUTBOX].find().sort("position")
    assert [one["_id"] async for one in stored] == ids
    assert shop.server.sent.count("bulkWrite") == (1 if version == OF_8_0 else 0)


async def _append_many(shop: Shop, writes: list[Write], count: int) -> list[ObjectId]:
    async with shop.client.start_session() as session, await session.start_transaction():
        drafts = [Draft({"n": str(n)}, key="k") for n in range(count)]
        ids = await shop.outbox.append_many(session, FILE_STREAM, drafts, writes=writes)
        assert await shop.outbox.append_each(session, FILE_STREAM, Draft({"n": "9"}, key="k")) != {}
    return [*ids, *[one["_id"] async for one in shop.database[OUTBOX].find({"fields.n": "9"})]]


async def test_a_synchronous_session_does_the_same(shop: Shop, version: int) -> None:
    order = ObjectId()

    def write() -> None:
        with MongoClient[Document](shop.uri, w="majority") as client, client.start_session() as session:
            writes = [InsertOne[Document]({"_id": order}, namespace=shop.orders.full_name)]
            session.with_transaction(
                lambda session: shop.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=writes)
            )
            with pytest.raises(DuplicateKeyError):
                session.with_transaction(
                    lambda session: shop.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=writes)
                )

    await asyncio.to_thread(write)
    assert await shop.counts() == (1, 1)
    assert shop.server.sent[:2] == (IN_ONE if version == OF_8_0 else ["insert", "insert"])


async def test_a_rollback_leaves_neither(shop: Shop) -> None:
    async with shop.client.start_session() as session:
        await session.start_transaction()
        await shop.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=[shop.insert({})])
        await session.abort_transaction()
    assert await shop.counts() == (0, 0)


async def test_a_record_that_is_there_already_is_a_duplicate_key(shop: Shop) -> None:
    order = ObjectId()
    await shop.append([shop.insert({"_id": order})])
    with pytest.raises(DuplicateKeyError) as error:
        await shop.append([shop.insert({"_id": order})])
    assert error.value.code == 11000
    assert error.value.details
    assert error.value.details["keyValue"] == {"_id": order}
    assert await shop.counts() == (1, 1)


async def test_a_record_that_its_validator_refuses_is_a_write_error(shop: Shop) -> None:
    await shop.database.application.create_collection("orders", validator={"total": {"$gt": 0}})
    with pytest.raises(WriteError) as error:
        await shop.append([shop.insert({"total": 0})])
    assert (error.value.code, type(error.value)) == (121, WriteError)
    assert await shop.counts() == (0, 0)


async def test_a_message_that_is_there_already_is_what_it_is_without_writes(shop: Shop) -> None:
    draft = Draft({"a": "b"}, key="k")
    for writes in ([], [shop.insert({})]):

        async def body(session: AsyncClientSession, writes: list[Write] = writes) -> None:
            await shop.outbox.append_many(session, FILE_STREAM, [Draft({"a": "c"}, key="k"), draft], writes=writes)

        async with shop.client.start_session() as session:
            if not writes:
                await session.with_transaction(body)
            with pytest.raises(BulkWriteError) as error:
                await session.with_transaction(body)
        first = error.value.details["writeErrors"][0]
        assert (first["index"], first["code"], first["op"]["_id"]) == (1, 11000, draft.id)
    assert await shop.counts() == (0, 2)


@pytest.mark.parametrize("kind", [UpdateOne, ReplaceOne, DeleteOne])
async def test_a_write_that_finds_no_record_ends_the_transaction(shop: Shop, kind: Callable[..., Write]) -> None:
    """Whoever swallows the error commits nothing: no message without its record."""
    missing: tuple[Document, ...] = ({"_id": 0},) if kind is DeleteOne else ({"_id": 0}, {"$set": {"a": 1}})
    missing = ({"_id": 0}, {"a": 1}) if kind is ReplaceOne else missing

    async def body(session: AsyncClientSession) -> str:
        writes = [shop.insert({}), kind(*missing, namespace=shop.orders.full_name)]
        with pytest.raises(NoSuchRecord, match=r"1 of 1 updates.*orders.*found no document"):
            await shop.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=writes)
        return "swallowed"

    async with shop.client.start_session() as session:
        assert await session.with_transaction(body) == "swallowed"
    assert await shop.counts() == (0, 0)


async def test_a_conflict_has_the_transaction_run_again(shop: Shop) -> None:
    order, runs = ObjectId(), 0
    await shop.orders.insert_one({"_id": order, "n": 0})

    async def body(session: AsyncClientSession) -> None:
        nonlocal runs
        runs += 1
        await shop.orders.find_one({"_id": order}, session=session)
        if runs == 1:
            await shop.orders.update_one({"_id": order}, {"$inc": {"n": 1}})
        writes = [shop.update(order, {"$inc": {"n": 1}})]
        await shop.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=writes)

    async with shop.client.start_session() as session:
        await session.with_transaction(body)
    found = await shop.orders.find_one()
    assert (runs, found and found["n"]) == (2, 2)
    assert await shop.counts() == (1, 1)


async def test_wrong_writes_are_refused_by_the_call(shop: Shop) -> None:
    name = shop.orders.full_name
    wrong: list[tuple[Any, str]] = [
        ([UpdateMany({}, {"$set": {"a": 1}}, namespace=name)], "not UpdateMany: make others through the session"),
        ([{"_id": 1}], "not dict"),
        ([InsertOne({})], "InsertOne needs the collection as namespace"),
        ([InsertOne({}, namespace="orders")], "namespace=collection.full_name"),
        ((one for one in [shop.insert({})]), "not generator: it is read again"),
        (shop.insert({}), "writes needs a list"),
    ]
    async with shop.client.start_session() as session:
        with pytest.raises(NoTransaction):
            shop.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=[shop.insert({})])
        async with await session.start_transaction():
            for writes, text in wrong:
                with pytest.raises(UsageError, match=text):
                    shop.outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", writes=writes)
    assert shop.server.sent == []

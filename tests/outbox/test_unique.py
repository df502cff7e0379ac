"""Unique messages: a second append of the same is no error and no second message, also in a race."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError

from outbox import Draft, InvalidMessage, Outbox, Stream, Streams
from outbox.database import OUTBOX, STREAMS, UNIQUE, Database, Document
from outbox.message import schema, uniques
from outbox.message.document import State
from outbox.operations import dead
from outbox.streams.declaration import Priority

Client = AsyncMongoClient[Document]
ORDERS = Stream("orders", "shop", priorities=(Priority.HIGH,))
FOR_LONG = Stream("reports", "shop", unique_seconds=3600)
TO_ALL = Stream("news", "mail", groups=("sms",))
DONE = [State.COMPLETED, State.DEAD]


class Shop:
    """Appends in a transaction that writes a record as well."""

    def __init__(self, client: Client, database: Database) -> None:
        self.client = client
        self.database = database
        self.outbox = Outbox(Streams([ORDERS, FOR_LONG, TO_ALL]), database=database.name)

    async def append(self, unique: str | None = "u", stream: str = "orders", **more: Any) -> ObjectId:
        async def body(session: AsyncClientSession) -> ObjectId:
            await self.database.records.insert_one({}, session=session)
            return await self.outbox.append(session, stream, {"a": "b"}, key="k", unique=unique, **more)

        async with self.client.start_session() as session:
            return await session.with_transaction(body)

    async def ids(self) -> list[ObjectId]:
        return [message["_id"] async for message in self.database[OUTBOX].find().sort("_id")]

    async def becomes(self, id_: ObjectId, state: State) -> None:
        await self.database[OUTBOX].update_one({"_id": id_}, {"$set": {"state": state.value}})

    async def records(self) -> int:
        return await self.database.records.count_documents({})


@pytest.fixture
async def shop(mongo: Client, database: str) -> Shop:
    made = Shop(mongo, Database(mongo, database))
    await schema.ensure(made.database, made.outbox.streams)
    return made


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.PUBLISHED])
async def test_while_the_first_waits_there_is_no_second_and_the_transaction_goes_on(shop: Shop, state: State) -> None:
    first = await shop.append()
    await shop.becomes(first, state)
    assert await shop.append() == first
    assert await shop.append(priority="high") == first
    assert await shop.ids() == [first]
    assert await shop.records() == 3, "what the transactions wrote beside is committed"


@pytest.mark.parametrize("state", DONE)
async def test_after_the_first_there_is_a_second_and_that_one_stands(shop: Shop, state: State) -> None:
    first = await shop.append()
    await shop.becomes(first, state)
    second = await shop.append()
    assert second != first
    assert await shop.append() == second
    assert await shop.ids() == [first, second]


async def test_what_is_gone_rules_nothing_out(shop: Shop) -> None:
    first = await shop.append()
    await shop.database[OUTBOX].delete_one({"_id": first})
    assert await shop.append() != first


async def test_within_the_declared_time_there_is_no_second_whatever_became_of_the_first(shop: Shop) -> None:
    first = await shop.append(stream="reports")
    await shop.becomes(first, State.COMPLETED)
    assert await shop.append(stream="reports") == first
    await shop.database[UNIQUE].update_one({}, [{"$set": {"until": {"$subtract": ["$until", 3_600_000]}}}])
    second = await shop.append(stream="reports")
    assert second != first
    await shop.becomes(second, State.COMPLETED)
    assert await shop.append(stream="reports") == second, "its own time has begun"


async def test_a_clock_that_was_set_back_keeps_nothing_from_being_appended(shop: Shop) -> None:
    for stream in ("orders", "reports"):
        first = await shop.append(stream=stream)
        await shop.becomes(first, State.COMPLETED)
        change = {"$set": {"until": {"$add": ["$until", 7_200_000]}}}
        await shop.database[UNIQUE].update_one({"_id.stream": stream}, [change])
        assert await shop.append(stream=stream) != first


async def test_values_of_different_streams_and_other_messages_are_apart(shop: Shop) -> None:
    appended = [await shop.append(), await shop.append("v"), await shop.append(stream="reports")]
    appended += [await shop.append(None), await shop.append(None)]
    assert len(set(appended)) == 5


async def test_a_rolled_back_append_rules_nothing_out(shop: Shop) -> None:
    async with shop.client.start_session() as session:
        await session.start_transaction()
        lost = await shop.outbox.append(session, "orders", {"a": "b"}, key="k", unique="u")
        await session.abort_transaction()
    assert await shop.append() != lost
    assert len(await shop.ids()) == 1


async def test_twice_in_one_transaction_and_in_one_call(shop: Shop) -> None:
    drafts = [Draft({"a": "1"}, "k", unique="u"), Draft({"a": "2"}, "k"), Draft({"a": "3"}, "k", unique="u")]

    async def body(session: AsyncClientSession) -> tuple[list[ObjectId], ObjectId]:
        ids = await shop.outbox.append_many(session, "orders", drafts)
        return ids, await shop.outbox.append(session, "orders", {"a": "4"}, key="k", unique="u")

    async with shop.client.start_session() as session:
        ids, last = await session.with_transaction(body)
    assert ids == [drafts[0].id, drafts[1].id, drafts[0].id]
    assert last == drafts[0].id
    assert await shop.ids() == sorted([drafts[0].id, drafts[1].id])


async def test_each_group_has_one_by_itself(shop: Shop) -> None:
    async def append() -> dict[str, ObjectId]:
        async with shop.client.start_session() as session, await session.start_transaction():
            return await shop.outbox.append_each(session, "news", Draft({"a": "b"}, "k", unique="u"))

    first = await append()
    assert await append() == first
    await shop.becomes(first["mail"], State.COMPLETED)
    second = await append()
    assert second["sms"] == first["sms"], "it still waits there"
    assert second["mail"] != first["mail"]


async def test_two_open_transactions_one_is_run_again_and_finds_the_others(shop: Shop) -> None:
    """Whichever comes second is told so by MongoDB at once, in the way by which with_transaction runs it again."""
    async with shop.client.start_session() as session:
        await session.start_transaction()
        first = await shop.outbox.append(session, "orders", {"a": "b"}, key="k", unique="u")
        async with shop.client.start_session() as other:
            await other.start_transaction()
            with pytest.raises(PyMongoError) as refused:
                await shop.outbox.append(other, "orders", {"a": "b"}, key="k", unique="u")
        assert refused.value.has_error_label("TransientTransactionError")
        await session.commit_transaction()
    assert await shop.append() == first


async def test_a_transaction_that_began_before_the_first_was_committed(shop: Shop) -> None:
    runs: list[ObjectId] = []

    async def body(session: AsyncClientSession) -> ObjectId:
        await shop.database.records.insert_one({}, session=session)  # from here on it sees what was so now
        if not runs:
            runs.append(await shop.append())
        return await shop.outbox.append(session, "orders", {"a": "b"}, key="k", unique="u")

    async with shop.client.start_session() as session:
        assert await session.with_transaction(body) == runs[0]
    assert await shop.ids() == runs


async def test_many_at_once(shop: Shop) -> None:
    appended = await asyncio.gather(*(shop.append() for _ in range(12)))
    assert len(set(appended)) == 1
    assert await shop.ids() == appended[:1]
    assert await shop.records() == 12


@pytest.fixture
def sync_mongo(mongodb_uri: str) -> Iterator[MongoClient[Document]]:
    with MongoClient[Document](mongodb_uri, w="majority") as client:
        yield client


async def test_a_client_that_reads_dates_as_numbers(shop: Shop, mongodb_uri: str) -> None:
    options: Any = {"datetime_conversion": "DATETIME_MS", "w": "majority"}
    async with AsyncMongoClient[Document](mongodb_uri, **options) as client:
        theirs = Shop(client, Database(client, shop.database.name))
        first = await theirs.append(stream="reports")
        await shop.becomes(first, State.COMPLETED)
        assert await theirs.append(stream="reports") == first
    with MongoClient[Document](mongodb_uri, **options) as plain, plain.start_session() as session:
        with session.start_transaction():
            assert shop.outbox.append(session, "reports", {"a": "b"}, key="k", unique="u") == first


async def test_a_sync_session(shop: Shop, sync_mongo: MongoClient[Document]) -> None:
    first = await shop.append()

    def body(session: ClientSession) -> ObjectId:
        return shop.outbox.append(session, "orders", {"a": "b"}, key="k", unique="u")

    with sync_mongo.start_session() as session:
        assert session.with_transaction(body) == first
        await shop.becomes(first, State.COMPLETED)
        second = session.with_transaction(body)
    assert await shop.ids() == [first, second]


@pytest.mark.parametrize("declared", [0, 10, 3600 * 24])
async def test_the_registered_time_counts_whatever_a_program_declares(
    shop: Shop, sync_mongo: MongoClient[Document], declared: float
) -> None:
    """As for all that may differ between declarations: an operator sets it, by `outbox init`."""
    streams = Streams([replace(FOR_LONG, unique_seconds=declared), replace(ORDERS, unique_seconds=declared)])
    shop.outbox = Outbox(streams, database=shop.database.name)
    for stream, registered in (("reports", FOR_LONG), ("orders", ORDERS)):
        first = await shop.append(stream=stream)
        await shop.becomes(first, State.COMPLETED)
        assert (await shop.append(stream=stream) == first) is bool(registered.unique_seconds)
        entry = await shop.database[UNIQUE].find_one({"_id.stream": stream}, {"left": {"$subtract": ["$until", "$at"]}})
        assert entry
        assert entry["left"] < registered.unique_seconds * 1000 + 5000
    plain, first = Outbox(streams, database=shop.database.name), await shop.append(stream="reports")
    with sync_mongo.start_session() as session, session.start_transaction():
        assert plain.append(session, "reports", {"a": "b"}, key="k", unique="u") == first


@pytest.mark.parametrize("unique", ["", "x" * 513, 7, "\ud800"])
async def test_what_cannot_be_a_value_is_refused_from_the_call_itself(shop: Shop, unique: Any) -> None:
    async with shop.client.start_session() as session, await session.start_transaction():
        with pytest.raises(InvalidMessage, match="unique"):
            shop.outbox.append(session, "orders", {"a": "b"}, key="k", unique=unique)


async def test_values_are_forgotten_when_nobody_waits_for_them(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniques, "SETTLING", timedelta(seconds=-1))
    monkeypatch.setattr(uniques, "PAGE", 1)
    waits, done, long = await shop.append("waits"), await shop.append("done"), await shop.append(stream="reports")
    for id_ in (done, long):
        await shop.becomes(id_, State.COMPLETED)
    assert await uniques.prune(shop.database) == 1
    assert {one["message"] async for one in shop.database[UNIQUE].find()} == {waits, long}
    assert await shop.append("waits") == waits


async def test_the_value_of_a_dead_message_is_kept_for_its_retry(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniques, "SETTLING", timedelta(seconds=-1))
    id_ = await shop.append()
    await shop.becomes(id_, State.DEAD)
    assert await uniques.prune(shop.database) == 0
    await dead.retry(shop.database, shop.outbox.streams, id_)
    assert await shop.append() == id_


async def test_the_registered_time_counts_for_each_group(shop: Shop) -> None:
    await shop.database[STREAMS].update_one({"_id": "news"}, {"$set": {"unique_seconds": 3600}})
    await shop.append(stream="news")
    for id_ in await shop.ids():
        await shop.becomes(id_, State.COMPLETED)
    await shop.append(stream="news")
    assert len(await shop.ids()) == 2


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300, -1e300, Int64(2**62), "long"])
async def test_a_registered_time_that_none_is_stops_no_append(shop: Shop, seconds: Any) -> None:
    """Others may have written it."""
    change = {"$set": {"unique_seconds": seconds}}
    await shop.database[STREAMS].update_many({}, change, bypass_document_validation=True)
    assert await shop.append() == await shop.append()

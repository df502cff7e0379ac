"""A record and its message by one call: in one request where MongoDB has `bulkWrite`, else one after the other.

Both ways run here against a real mongod 6.0; the first one through a stand-in for MongoDB 8.0, see `stand_in`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient, DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateMany, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, WriteError
from pymongo.hello import Hello
from pymongo.server_description import ServerDescription
from pymongo.synchronous.settings import TopologySettings
from pymongo.topology_description import TOPOLOGY_TYPE, TopologyDescription

from outbox import Draft, NoSuchRecord, NoTransaction, Outbox, Streams, UsageError
from outbox import writes as module
from outbox.database import OUTBOX, Database, Document
from outbox.embedded import Mongod
from outbox.message import schema
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILE_STREAM, FILES
from outbox.writes import Write
from tests.outbox.stand_in import OF_8_0, StandIn

Client = AsyncMongoClient[Document]
IN_ONE = ["bulkWrite", "commitTransaction"]
OF_6_0 = 17
STREAMS = Streams([FILES])
OTHERS = "invoices.of.2026"


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


@pytest.fixture(params=[OF_8_0, OF_6_0], ids=["8.0", "6.0"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def one_database(mongod: Mongod) -> Iterator[str]:
    """For all tests: to set one up takes longer than any of them."""
    name = "test_writes"

    async def set_up() -> None:
        async with connect_mongo(load(OutboxSettings, mongodb_uri=mongod.uri)) as client:
            await schema.ensure(Database(client, name), STREAMS)

    mongod.start()
    asyncio.run(set_up())
    yield name
    with mongod.client() as client:
        client.drop_database(name)


@pytest.fixture
async def shop(mongod: Mongod, mongo: Client, one_database: str, version: int) -> AsyncIterator[Shop]:
    for collection in ("orders", OTHERS):
        await mongo[one_database].drop_collection(collection)
    await mongo[one_database][OUTBOX].delete_many({})
    module._without.clear()  # of clients of tests before, which may have had the same port
    server = StandIn(mongod)
    server.wire_version = version
    async with server.open() as uri, connect_mongo(load(OutboxSettings, mongodb_uri=uri)) as client:
        yield Shop(client, one_database, server, uri)


only_with_bulk_write = pytest.mark.parametrize("version", [OF_8_0], ids=["8.0"])


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


@only_with_bulk_write
async def test_a_lost_reply_has_the_transaction_run_again(shop: Shop) -> None:
    shop.server.lose = 1
    await shop.append([shop.insert({"_id": 1})])
    assert shop.server.sent.count("bulkWrite") == 2
    assert await shop.counts() == (1, 1)


@only_with_bulk_write
@pytest.mark.parametrize("code", [59, 115])
async def test_a_server_that_refuses_the_command_gets_the_writes_one_by_one(shop: Shop, code: int) -> None:
    """As MongoDB 8.0 does until its feature compatibility version is 8.0: once a client, and none is lost."""
    shop.server.refusal = {"ok": 0.0, "code": code, "errmsg": "not now", "codeName": "refused"}
    for order in range(3):
        # A new Outbox each time: what is known of the server outlasts it.
        shop.outbox = Outbox(STREAMS, database=shop.database.name)
        await shop.append([shop.insert({"_id": order})])
    assert shop.server.sent.count("bulkWrite") == 1
    assert await shop.counts() == (3, 3)


@only_with_bulk_write
async def test_another_error_of_the_whole_command_is_raised_as_it_is(shop: Shop) -> None:
    shop.server.refusal = {"ok": 0.0, "code": 13, "errmsg": "not authorized", "codeName": "Unauthorized"}
    with pytest.raises(OperationFailure, match="not authorized") as error:
        await shop.append([shop.insert({})])
    assert error.value.code == 13


@only_with_bulk_write
async def test_an_older_server_takes_over(shop: Shop) -> None:
    """Half way through an upgrade, or back from one."""
    await shop.append([shop.insert({"_id": 1})])
    shop.server.wire_version = OF_6_0
    await shop.server.disconnect()
    shop.server.sent.clear()
    await shop.append([shop.insert({"_id": 2})])
    assert shop.server.sent[-3:] == ["insert", "insert", "commitTransaction"]
    assert await shop.counts() == (2, 2)


@pytest.mark.parametrize("version", [OF_6_0], ids=["6.0"])
async def test_an_older_primary_than_was_known_gets_the_writes_one_by_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyMongo refuses to send it the command; nothing has been sent then."""
    monkeypatch.setattr("outbox.writes._has_bulk_write", lambda _: True)
    await shop.append([shop.insert({"_id": 1})])
    assert shop.server.sent == ["insert", "insert", "commitTransaction"]
    assert await shop.counts() == (1, 1)


@pytest.mark.parametrize(
    ("versions", "sent"), [((OF_8_0, OF_8_0), True), ((OF_8_0, OF_6_0), False), ((OF_6_0,), False), ((), False)]
)
def test_while_a_member_is_older_the_command_is_not_sent(versions: tuple[int, ...], sent: bool) -> None:
    """It may be the primary next. Without any that is known, nothing is known."""
    hosts = [("a", 1), ("b", 2)]
    names = [f"{name}:{port}" for name, port in hosts]
    members: dict[tuple[str, int | None], ServerDescription] = {
        host: ServerDescription(
            host, Hello({"ok": 1, "setName": "rs", "hosts": names, "secondary": True, "maxWireVersion": version})
        )
        for host, version in zip(hosts, versions, strict=False)
    }

    class Known:
        topology_description = TopologyDescription(
            TOPOLOGY_TYPE.ReplicaSetNoPrimary, members, "rs", None, None, TopologySettings(seeds=hosts)
        )

    assert module._has_bulk_write(cast(Client, Known())) is sent


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

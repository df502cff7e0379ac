from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox import Draft, InvalidMessage, NoTransaction, Outbox, Streams, UndeclaredStream
from outbox.database import OUTBOX, Database, Document
from outbox.errors import SchemaError, SettingsError, UsageError
from outbox.streams.declaration import FILE_STREAM, Stream
from tests.outbox.shelf import Shelf

Client = AsyncMongoClient[Document]


@pytest.fixture
def outbox(db: Database, streams: Streams) -> Outbox:
    return Outbox(streams, database=db.name)


@pytest.fixture
def sync_mongo(mongodb_uri: str) -> Iterator[MongoClient[Document]]:
    with MongoClient[Document](mongodb_uri, w="majority") as client:
        yield client


async def test_a_message_exists_once_its_transaction_is_committed(mongo: Client, outbox: Outbox, shelf: Shelf) -> None:
    async with mongo.start_session() as session, await session.start_transaction():
        id_ = await outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1", headers={"traceparent": "t"})
        assert await shelf.messages.find_one({"_id": id_}) is None
    stored = await shelf.get(id_)
    assert (stored["state"], stored["key"], stored["attempts"]) == ("pending", "1", 0)
    assert (stored["fields"], stored["headers"]) == ({"file_id": "1"}, {"traceparent": "t"})
    assert stored["position"].time > 0


async def test_a_sync_session_appends_the_same(
    sync_mongo: MongoClient[Document], outbox: Outbox, db: Database, shelf: Shelf
) -> None:
    def body(session: ClientSession) -> ObjectId:
        sync_mongo[db.name].files.insert_one({"parsing": "queued"}, session=session)
        return outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1")

    with sync_mongo.start_session() as session:
        id_ = session.with_transaction(body)
    stored = await shelf.get(id_)
    assert stored["state"] == "pending"
    assert stored["position"].time > 0


async def test_a_rollback_leaves_nothing(mongo: Client, outbox: Outbox, shelf: Shelf) -> None:
    async def body(session: AsyncClientSession) -> None:
        await shelf.files.insert_one({"parsing": "queued"}, session=session)
        await outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1")
        raise RuntimeError("the caller changed its mind")

    async with mongo.start_session() as session:
        with pytest.raises(RuntimeError, match="changed its mind"):
            await session.with_transaction(body)
    assert await shelf.messages.count_documents({}) == 0
    assert await shelf.files.count_documents({}) == 0


async def test_a_sync_rollback_leaves_nothing(sync_mongo: MongoClient[Document], outbox: Outbox, shelf: Shelf) -> None:
    with sync_mongo.start_session() as session:
        session.start_transaction()
        outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1")
        session.abort_transaction()
    assert await shelf.messages.count_documents({}) == 0


async def test_a_session_without_a_transaction_is_refused(
    mongo: Client, sync_mongo: MongoClient[Document], outbox: Outbox, shelf: Shelf
) -> None:
    async with mongo.start_session() as session:
        with pytest.raises(NoTransaction, match="with_transaction"):
            outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1")
    with sync_mongo.start_session() as sync_session, pytest.raises(NoTransaction):
        outbox.append(sync_session, FILE_STREAM, {"file_id": "1"}, key="1")
    assert await shelf.messages.count_documents({}) == 0


async def test_a_session_whose_transaction_has_ended_is_refused(mongo: Client, outbox: Outbox) -> None:
    async with mongo.start_session() as session:
        async with await session.start_transaction():
            await outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1")
        with pytest.raises(NoTransaction):
            outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1")


@pytest.mark.parametrize(
    ("stream", "fields", "refusal"),
    [
        ("file_parsing_quene", {"file_id": "1"}, UndeclaredStream),
        (FILE_STREAM, {"file_id": 1}, InvalidMessage),
        (FILE_STREAM, {}, InvalidMessage),
    ],
)
async def test_a_refusal_comes_from_the_call_itself(
    stream: str, fields: dict[str, Any], refusal: type[Exception], mongo: Client, outbox: Outbox
) -> None:
    """Not from the await, which can be forgotten."""
    async with mongo.start_session() as session, await session.start_transaction():
        with pytest.raises(refusal):
            outbox.append(session, stream, fields, key="1")


async def test_a_message_for_later_is_scheduled(mongo: Client, outbox: Outbox, shelf: Shelf) -> None:
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    async with mongo.start_session() as session, await session.start_transaction():
        id_ = await outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1", available_at=later)
    stored = await shelf.get(id_)
    assert (stored["state"], stored["available_at"]) == ("scheduled", later)


async def test_positions_of_one_key_rise_in_the_order_of_commits(
    mongo: Client, outbox: Outbox, shelf: Shelf, db: Database
) -> None:
    """Fifty writers at once on one file, whose version tells the order in which they were committed."""
    key = await shelf.put_file("queued")

    async def body(session: AsyncClientSession) -> None:
        file = await shelf.files.find_one_and_update(
            {"_id": ObjectId(key)}, {"$inc": {"version": 1}}, session=session, return_document=True
        )
        assert file
        await outbox.append(session, FILE_STREAM, {"file_id": key, "version": str(file["version"])}, key=key)

    async def write() -> None:
        async with mongo.start_session() as session:
            await session.with_transaction(body)

    await asyncio.gather(*(write() for _ in range(50)))
    messages = await db[OUTBOX].find({"key": key}).sort("position").to_list()
    assert [int(message["fields"]["version"]) for message in messages] == list(range(2, 52))
    assert len({message["position"] for message in messages}) == 50


async def test_a_skewed_clock_does_not_change_the_order(
    mongo: Client, outbox: Outbox, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) - timedelta(days=1)

    ids = []
    for clock in (datetime, Yesterday):
        monkeypatch.setattr("outbox.draft.datetime", clock)
        async with mongo.start_session() as session, await session.start_transaction():
            ids.append(await outbox.append(session, FILE_STREAM, {"file_id": "1"}, key="1"))
    first, second = [await shelf.get(id_) for id_ in ids]
    assert first["created_at"] > second["created_at"]
    assert first["position"] < second["position"]


async def test_several_messages_in_one_request_keep_their_order(mongo: Client, outbox: Outbox, shelf: Shelf) -> None:
    drafts = [Draft({"n": str(n)}, key="one") for n in range(50)]
    async with mongo.start_session() as session, await session.start_transaction():
        assert await outbox.append_many(session, FILE_STREAM, drafts) == [draft.id for draft in drafts]
        assert await outbox.append_many(session, FILE_STREAM, []) == []
    stored = await shelf.messages.find({"key": "one"}).sort("position").to_list()
    assert [message["_id"] for message in stored] == [draft.id for draft in drafts]
    assert len({message["position"] for message in stored}) == 50


async def test_of_several_messages_one_that_is_wrong_keeps_out_all(
    mongo: Client, sync_mongo: MongoClient[Document], outbox: Outbox, shelf: Shelf
) -> None:
    drafts = [Draft({"file_id": "1"}, key="1"), Draft({}, key="1")]
    async with mongo.start_session() as session, await session.start_transaction():
        with pytest.raises(InvalidMessage, match="fields is empty"):
            await outbox.append_many(session, FILE_STREAM, drafts)
    with sync_mongo.start_session() as sync, sync.start_transaction():
        with pytest.raises(InvalidMessage, match="fields is empty"):
            outbox.append_many(sync, FILE_STREAM, drafts)
        assert outbox.append_many(sync, FILE_STREAM, drafts[:1]) == [drafts[0].id]
    assert await shelf.messages.count_documents({}) == 1


async def test_what_is_no_session_is_refused(mongo: Client, outbox: Outbox) -> None:
    """The client in its place, and a session that an optional argument has left out."""
    for wrong in (None, mongo, mongo.admin):
        with pytest.raises(NoTransaction, match=f"session of your transaction, not {type(wrong).__name__}"):
            outbox.append(wrong, FILE_STREAM, {"file_id": "1"}, key="1")  # type: ignore[call-overload]
    of_motor: Any = type("AsyncIOMotorClientSession", (), {"__module__": "motor.motor_asyncio"})()
    with pytest.raises(NoTransaction, match="not AsyncIOMotorClientSession: PyMongo's own AsyncMongoClient has taken"):
        outbox.append(of_motor, FILE_STREAM, {"file_id": "1"}, key="1")


@pytest.mark.parametrize("place", [{"database": "{}_misspelt"}, {"database": "{}", "prefix": "misspelt"}])
async def test_an_append_where_no_outbox_is_ends_its_transaction(
    mongo: Client, sync_mongo: MongoClient[Document], db: Database, streams: Streams, place: dict[str, str]
) -> None:
    """Nobody would publish it, and `outbox init` would take the collection for somebody else's."""
    names = {name: value.format(db.name) for name, value in place.items()}
    async with mongo.start_session() as session:

        async def body(session: AsyncClientSession) -> None:
            await db.files.insert_one({"parsing": "queued"}, session=session)
            await Outbox(streams, **names).append(session, FILE_STREAM, {"file_id": "1"}, key="1")  # type: ignore[arg-type]

        with pytest.raises(SchemaError, match=r"has no outbox whose collections begin with .*Run: outbox init"):
            await session.with_transaction(body)
    with sync_mongo.start_session() as plain, plain.start_transaction():
        with pytest.raises(SchemaError, match="Run: outbox init"):
            Outbox(streams, **names).append(plain, FILE_STREAM, {"file_id": "1"}, key="1")  # type: ignore[arg-type]
        plain.abort_transaction()
    assert await db.files.count_documents({}) == 0
    assert f"{db.name}_misspelt" not in await mongo.list_database_names()
    assert "misspelt" not in await db.list_collection_names()


def test_an_outbox_of_what_is_no_streams_is_refused(streams: Streams) -> None:
    for wrong in (["orders"], [*streams.values()], None):
        with pytest.raises(SettingsError, match="Outbox needs Streams"):
            Outbox(wrong)  # type: ignore[arg-type]
    for no_list in (["orders"], streams[FILE_STREAM], "orders", None):
        with pytest.raises(SettingsError, match=r"Streams needs a list of streams, such as Streams\(\[Stream\("):
            Streams(no_list)  # type: ignore[arg-type]


def test_an_outbox_in_what_is_no_database_is_refused(streams: Streams, db: Database) -> None:
    """When it is made, and not at the first append: the database itself in place of its name, no name, no limit."""
    for wrong in (None, db, "", "a b", "a.b", "x" * 64, "admin"):
        with pytest.raises(SettingsError, match=r"database (needs a name|cannot be the name of a database)"):
            Outbox(streams, database=wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="prefix needs a name, such as prefix='orders', not NoneType"):
        Outbox(streams, prefix=None)  # type: ignore[arg-type]
    for limit in ("1", None, 0, 1.5, True):
        with pytest.raises(SettingsError, match="max_message_bytes needs a number of bytes"):
            Outbox(streams, max_message_bytes=limit)  # type: ignore[arg-type]


async def test_what_a_relay_would_not_send_is_refused_whatever_the_limit(
    mongo: Client, db: Database, streams: Streams
) -> None:
    outbox = Outbox(streams, database=db.name, max_message_bytes=10**9)
    async with mongo.start_session() as session, await session.start_transaction():
        with pytest.raises(InvalidMessage, match="more than the 8388608 allowed"):
            outbox.append(session, FILE_STREAM, {"a": "b" * 9 * 2**20}, key="k")
        with pytest.raises(UsageError, match=r"need a list of Draft\(fields, key=\.\.\.\), not of dict"):
            outbox.append_many(session, FILE_STREAM, [{"a": "b"}])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (Stream("orders", "shop"), "groups mail are registered and not declared"),
        (Stream("orders", "shop", groups=("mail",), partitions=16), "partitions is declared as 16 and registered as 4"),
        (Stream("order", "shop"), "stream 'order' is not registered"),
        (Stream("orders", "shop", groups=("mail",), rescue_seconds=60), ""),
    ],
)
async def test_the_first_append_logs_that_a_declaration_differs(
    mongo: Client,
    sync_mongo: MongoClient[Document],
    db: Database,
    declared: Stream,
    reason: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not each: a message for a group that is not declared is missing, and nobody else would see that."""
    await Outbox(Streams([Stream("orders", "shop", groups=("mail",))]), database=db.name).register(mongo)
    outbox, plain = [Outbox(Streams([declared]), database=db.name) for _ in range(2)]
    for _ in range(2):
        async with mongo.start_session() as session, await session.start_transaction():
            await outbox.append(session, declared.name, {"a": "b"}, key="k")
        with sync_mongo.start_session() as sync, sync.start_transaction():
            plain.append(sync, declared.name, {"a": "b"}, key="k")
    found = [line for line in caplog.messages if line.startswith("appending under another declaration: ")]
    assert len(found) == (2 if reason else 0)
    assert all(reason in one for one in found)
    assert not capsys.readouterr().out  # it is the application's

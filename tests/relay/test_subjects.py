"""Documents with an `_id` of any type as subjects: what was settled stays so, what was not comes again.

On real servers. All types are in one test each, since they share nothing but the servers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.binary import UuidRepresentation
from bson.datetime_ms import DatetimeMS
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Stream, Streams, Subject
from outbox.database import LENIENT, OUTBOX, Document
from outbox.errors import InvalidMessage
from outbox.message import attempts, subject_check, subjects
from outbox.message.document import Sent
from outbox.message.transitions import Cause
from outbox.operations import dead, replay
from outbox.operations.verify import about_nothing
from outbox.operations.verify import subjects as verify
from outbox.operations.verify.findings import System
from outbox.protocol.settled import settled
from outbox.settings import OutboxSettings, load
from outbox.streams import identifiers
from outbox.streams.identifiers import same
from outbox.worker.rescue import Rescue
from outbox_api.uploads.migration import Migration
from outbox_api.uploads.reparse import reparse
from tests.relay.world import PARTITION, STREAM, World, a_world, notice, remembering

JOBS = Subject("odd jobs.of-2024", "status.parsing", wanted=["queued", 7])
HEX = "507f1f77bcf86cd79943901"
THEN = datetime(2024, 2, 29, 12, 30, 15, 123000, tzinfo=UTC)
AGO = datetime.now(UTC) - timedelta(hours=1)

PAIRS: list[tuple[Any, Any]] = [
    # Each two: the first is settled, the second is not.
    (ObjectId(HEX + "1"), ObjectId(HEX + "2")),
    (HEX + "2", HEX + "1"),  # texts that look like the ids above, and end in the other way
    ("a text", "x" * 2000),
    ("1", "2"),
    (2, 1),
    (Int64(2**40), Int64(-(2**40))),
    (0.5, -1.5),
    (float("inf"), float("nan")),
    (Decimal128("10.10"), Decimal128("10.1000001")),
    (True, False),
    (MinKey(), None),
    (Binary(b"one", 0), Binary(b"two", 0)),
    (Binary(b"two", 128), Binary(b"one", 128)),
    (UUID(int=1), UUID(int=2)),
    (Binary.from_uuid(UUID(int=2), UuidRepresentation.PYTHON_LEGACY), Binary(UUID(int=1).bytes, 3)),
    (THEN, THEN + timedelta(milliseconds=1)),
    (DatetimeMS(2**50), DatetimeMS(2**50 + 1)),
    (Timestamp(1, 1), Timestamp(0, 0)),
    ({"tenant": "a", "number": 1}, {"number": 1, "tenant": "a"}),
    ({"deep": {"list": [1, Binary(b"x")], "null": None}}, {}),
    (Code("one"), MaxKey()),
]
SETTLED = [first for first, _ in PAIRS]
WANTED = [second for _, second in PAIRS]


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    stream = Stream(STREAM.name, STREAM.group, partitions=1, subject=JOBS)
    async with remembering(mongo), a_world(mongo, database, redis, [stream]) as made:
        yield made


async def append(world: World, *ids: Any, **options: Any) -> list[ObjectId]:
    """A document for each id, as another application has it, and a message about it, in one transaction."""

    async def body(session: Any) -> list[ObjectId]:
        for id_ in ids:
            stored = identifiers.checked(id_)
            document = {"_id": stored, "status": {"parsing": "queued"}, "theirs": 1}
            await jobs(world).replace_one({"_id": stored}, document, upsert=True, session=session)
        return [
            await world.outbox.append(session, STREAM.name, {"n": str(n)}, subject=id_, **options)
            for n, id_ in enumerate(ids)
        ]

    async with world.client.start_session() as session:
        return await session.with_transaction(body)


def jobs(world: World) -> Any:
    return subjects.collection_of(world.database, JOBS)


async def settle(world: World, ids: Iterable[Any]) -> None:
    for id_ in ids:
        query = {"_id": {"$in": [identifiers.checked(id_)]}}
        assert (await jobs(world).update_one(query, {"$set": {"status.parsing": "done"}})).modified_count == 1


async def in_state(world: World, state: str) -> set[ObjectId]:
    return {m["_id"] async for m in world.database[OUTBOX].find({"state": state}, {"_id": 1})}


async def test_a_loss_brings_back_what_was_not_settled(world: World) -> None:
    owner = await world.owner(seconds=60)
    done, lost = await append(world, *SETTLED), await append(world, *WANTED)
    await owner.drain_all()
    await settle(world, SETTLED)
    await world.redis.flushall()
    await notice(owner)
    assert sorted(await world.published_ids()) == sorted(map(str, lost))
    assert await in_state(world, "completed") == set(done)


async def test_newer_messages_do_not_bring_back_what_was_settled(world: World) -> None:
    owner = await world.owner(seconds=60)
    old = await append(world, *SETTLED, *WANTED)
    await owner.drain_all()
    await settle(world, [*SETTLED, *WANTED])
    new = await append(world, *SETTLED, *WANTED)
    await owner.drain_all()
    await world.redis.flushall()
    await notice(owner)
    assert sorted(await world.published_ids()) == sorted(map(str, new))
    assert await in_state(world, "completed") == set(old)


async def test_a_rescue_completes_what_was_settled(world: World) -> None:
    owner = await world.owner(seconds=60)
    done, stuck = await append(world, *SETTLED), await append(world, *WANTED)
    await owner.drain_all()
    await world.database[OUTBOX].update_many({}, {"$set": {"published_at": AGO}})
    entries: Any = await world.redis.xreadgroup(STREAM.group, "theirs", {STREAM.name: ">"}, count=1000)
    await settle(world, SETTLED)
    await world.redis.xack(STREAM.name, STREAM.group, *(id_ for id_, _ in entries[0][1]))
    [stream] = world.streams.values()
    found = await Rescue(world.database, world.redis).vanished(stream, PARTITION)
    assert (found.settled, found.rescued, found.dead) == (len(done), len(stuck), 0)
    assert await in_state(world, "pending") == set(stuck)


async def test_a_replay_and_a_retry_lead_to_the_same_subject(world: World) -> None:
    owner = await world.owner(seconds=60)
    ids = await append(world, *WANTED)
    await owner.drain_all()
    await settle(world, WANTED)
    assert (await replay.replay(world.database, replay.Selection(ids=tuple(ids)))).replayed == len(ids)
    await owner.drain_all()
    [stream] = world.streams.values()
    lenient = world.database[OUTBOX].with_options(codec_options=LENIENT)
    for id_ in ids:
        message = await lenient.find_one({"_id": id_})
        assert message
        sent = Sent(id_, message["attempts"])
        assert await attempts.die(world.database, stream, sent, Cause.FAILED, message=message, reason="x", error="x")
        await dead.retry(world.database, world.streams, id_)
    messages = await lenient.find().to_list()
    assert await settled(world.database, JOBS, messages) == set(ids)
    assert await jobs(world).count_documents({"status.parsing": "done", "theirs": 1}) == len(ids)


@pytest.mark.parametrize("id_type", ["objectId", "string", "int", "double", "decimal", "uuid", "bool", "date", None])
async def test_a_key_is_read_as_the_subject_declares(world: World, id_type: str | None) -> None:
    """Also of messages of before subjects were stored: they have nothing but their key."""
    subject = Subject(JOBS.collection, JOBS.field, JOBS.wanted, id_type)
    of_type: dict[str | None, tuple[Any, Any]] = {
        "objectId": PAIRS[0], "string": PAIRS[1], "int": PAIRS[4], "double": (0.5, 0.1), "decimal": PAIRS[8],
        "uuid": PAIRS[13], "bool": PAIRS[9], "date": PAIRS[15], None: ("a", ObjectId()),
    }  # fmt: skip
    first, second = map(identifiers.checked, of_type[id_type])
    messages = [{"_id": ObjectId(), "key": identifiers.as_text(id_)} for id_ in (first, second)]
    await append(world, first, second)
    assert await settled(world.database, subject, messages) == set()
    await settle(world, [first])
    assert await settled(world.database, subject, messages) == {messages[0]["_id"]}
    await jobs(world).delete_many({})
    assert await settled(world.database, subject, messages) == set()


async def test_what_a_key_looks_like_decides_nothing(world: World) -> None:
    """Without a declared type, both documents that it can name count: while one waits, the message is wanted."""
    text = HEX + "1"
    message = {"_id": ObjectId(), "key": text}
    await append(world, text, ObjectId(text))
    for id_, expected in ((text, set()), (ObjectId(text), {message["_id"]})):
        await settle(world, [id_])
        assert await settled(world.database, JOBS, [message]) == expected


async def test_a_key_beside_the_subject_is_an_order_and_nothing_else(world: World) -> None:
    """All orders of a customer: a message about one of them is not about the others."""
    owner = await world.owner(seconds=60)
    first, second = await append(world, 1, 2, key="customer")
    await owner.drain_all()
    await settle(world, [1])
    await world.redis.flushall()
    await notice(owner)
    assert await world.published_ids() == [str(second)]
    assert await in_state(world, "completed") == {first}


async def test_every_wanted_value_is_wanted(world: World) -> None:
    subject = Subject(JOBS.collection, JOBS.field, wanted=["queued", 7, None, True])
    messages = [{"_id": n, "key": str(n)} for n in map(ObjectId, [HEX + digit for digit in "123456"])]
    values = ["queued", 7, None, True, "done", False]
    documents = [{"_id": m["_id"], "status": {"parsing": value}} for m, value in zip(messages, values, strict=True)]
    await jobs(world).insert_many(documents)
    assert await settled(world.database, subject, messages) == {messages[4]["_id"], messages[5]["_id"]}


async def test_a_field_that_is_not_there_says_nothing(world: World) -> None:
    subject = Subject(JOBS.collection, "status.parsed")
    await append(world, "a")
    await settle(world, ["a"])
    assert await settled(world.database, subject, [{"_id": ObjectId(), "key": "a"}]) == set()
    assert await subject_check.differences(world.database, world.streams) == []


def a_system(world: World, streams: Streams) -> System:
    """Some time later, through a client as the commands have it."""
    database = world.database.reading(LENIENT)
    return System(database, world.redis, streams, datetime.now(UTC) + timedelta(hours=1), timedelta(days=7))


async def test_a_message_is_not_completed_unsent_because_its_key_is_misread(world: World) -> None:
    """Without a type, a key of digits is a text. The documents have numbers: that says nothing of the message."""
    subject = Subject("orders", "status", "new")
    stream = Stream(STREAM.name, STREAM.group, partitions=1, subject=subject)
    await world.database.application.orders.insert_one({"_id": 1, "status": "new"})
    async with world.client.start_session() as session, await session.start_transaction():
        await world.outbox.append(session, STREAM.name, {"n": "1"}, key="1")
    system = a_system(world, Streams([stream]))
    assert await about_nothing.messages_have_a_subject(system) == []
    assert await verify.subjects_wait_for_a_message(system) == []
    [finding] = await verify.subjects_are_as_declared(system)
    assert 'declare "id_type"' in finding.what


async def test_files_of_any_id_are_parsed_again(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> None:
    """Those that were there before the outbox may have other ids than the API gives."""
    ids: list[Any] = [ObjectId(HEX + "1"), HEX + "1", 7, "a text", Binary(b"x", 128)]
    async with a_world(mongo, database, redis, [STREAM]) as world:
        files = world.database.application.files
        await files.insert_many([{"_id": id_, "parsing": "parsing start"} for id_ in ids])
        assert (await Migration(world.database, world.redis, world.streams).run(who="test")).migrated == len(ids)
        owner = await world.owner(seconds=60)
        await owner.drain_all()
        await files.update_many({}, {"$set": {"parsing": "parsed"}})
        again = await reparse(world.database, world.outbox, ids[:3])
        await owner.drain_all()
        await world.redis.flushall()
        await notice(owner)
        assert sorted(await world.published_ids()) == sorted(map(str, again.values()))
        assert (await Migration(world.database, world.redis, world.streams).run(who="test")).migrated == 0


@pytest.mark.parametrize("wrong", [[1], {"$gt": ""}, {"$where": "x"}, 2**64, "\ud800", object()])
async def test_what_no_document_has_as_its_id_is_refused(world: World, wrong: Any) -> None:
    async with world.client.start_session() as session, await session.start_transaction():
        with pytest.raises(InvalidMessage, match="subject"):
            await world.outbox.append(session, STREAM.name, {"n": "1"}, subject=wrong)
        with pytest.raises(InvalidMessage, match="key must be"):
            await world.outbox.append(session, STREAM.name, {"n": "1"})


async def test_what_is_stored_around_the_library_names_no_subject(world: World) -> None:
    await append(world, "a")
    await settle(world, ["a"])
    for stored in (None, "a", {}, {"id": [1]}, {"id": {"$gt": ""}}, {"other": "a"}, ["a"]):
        message = {"_id": ObjectId(), "key": "a", "subject": stored}
        assert await settled(world.database, JOBS, [message]) == set()


def test_values_that_json_has_not_are_written_as_extended_json(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = {
        "collection": "orders", "field": "at", "wanted": [None, False, 1.5, {"$date": "2024-02-29T12:30:15.123Z"}],
        "failure": {"why": "{error}", "owner": {"$oid": HEX + "1"}}, "id_type": "int",
    }  # fmt: skip
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([{"name": "a", "group": "g", "subject": subject}]))
    assert load(OutboxSettings).streams["a"].subject == Subject(
        "orders", "at", [None, False, 1.5, THEN], "int", {"why": "{error}", "owner": ObjectId(HEX + "1")}
    )


def test_the_text_of_an_id_is_the_same_for_ids_that_are_the_same() -> None:
    nans = [float("nan"), Decimal128("NaN"), Decimal128("-NaN"), Decimal128("sNaN")]
    halves, moments = [0.5, Decimal128("0.50")], [THEN, THEN.replace(tzinfo=None)]
    for ids in ([1, Int64(1), 1.0, Decimal128("1.00")], halves, moments, nans):
        assert len({same(id_) for id_ in ids}) == len({identifiers.as_text(id_) for id_ in ids}) == 1
    assert same(1) != same(True)
    assert len({same(identifiers.checked(id_)) for pair in PAIRS for id_ in pair}) == 2 * len(PAIRS)

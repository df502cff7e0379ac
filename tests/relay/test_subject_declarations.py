"""What a subject is declared as: whether that can be, is true to what is there, and what a failure writes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from bson import Decimal128, ObjectId, decode, encode
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from redis.asyncio import Redis

from outbox import Stream, Streams, Subject
from outbox.database import LENIENT, OUTBOX, Document
from outbox.errors import InvalidMessage, SettingsError
from outbox.message import attempts, subject_check
from outbox.message.document import Sent
from outbox.message.transitions import Cause
from outbox.operations import dead
from outbox.operations.verify import about_nothing
from outbox.operations.verify import subjects as verify
from outbox.streams import agreement, registry
from tests.relay.test_subjects import HEX, JOBS, SETTLED, THEN, WANTED, a_system, append, in_state, jobs, world
from tests.relay.world import STREAM, World, a_world

__all__ = ["world"]


async def kill(world: World, subject: Subject, id_: Any = 1) -> tuple[ObjectId, Document]:
    """A message about `id_` dies; what has become of its subject."""
    await append(world, id_)
    message = await world.database[OUTBOX].find_one({"state": "pending"})
    assert message
    stream = Stream(STREAM.name, STREAM.group, partitions=1, subject=subject)
    sent = Sent(message["_id"], 1)
    assert await attempts.die(world.database, stream, sent, Cause.FAILED, message=message, reason="why", error="w  hy")
    assert await in_state(world, "dead") >= {message["_id"]}
    return message["_id"], await jobs(world).find_one({"_id": id_})


async def test_a_failure_writes_what_is_declared_and_nothing_else(world: World) -> None:
    untouched = {"_id": 1, "status": {"parsing": "queued"}, "theirs": 1}
    id_, document = await kill(world, JOBS)
    assert document == untouched
    await dead.discard(world.database, world.streams, id_)
    assert await jobs(world).find_one({"_id": 1}) == untouched
    failure = {"status.parsing": "failed: {error}", "status.code": 5, "why": "{error}"}
    declared = Subject(JOBS.collection, JOBS.field, JOBS.wanted, failure=failure)
    id_, document = await kill(world, declared)
    assert document == {"_id": 1, "status": {"parsing": "failed: w hy", "code": 5}, "theirs": 1, "why": "w hy"}


async def test_a_validator_of_theirs_does_not_keep_a_message_from_dying(world: World) -> None:
    await jobs(world).insert_one({"_id": 0})
    validator = {"status.parsing": {"$in": ["queued", "done"]}}
    await world.database.command("collMod", JOBS.collection, validator=validator)
    declared = Subject(JOBS.collection, JOBS.field, JOBS.wanted, failure={"status.parsing": "failed: {error}"})
    id_, document = await kill(world, declared)
    assert document["status"] == {"parsing": "queued"}
    stream = Stream(STREAM.name, STREAM.group, partitions=1, subject=declared)
    await dead.retry(world.database, Streams([stream]), id_)
    assert await in_state(world, "pending") == {id_}


async def test_a_declaration_that_is_not_true_to_what_is_there_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines(**changes: Any) -> Any:
        subject = Subject(**{"collection": "orders", "field": "status", "wanted": "new", **changes})
        return subject_check.of(
            world.database, subject, [Stream(STREAM.name, STREAM.group, partitions=1, subject=subject)]
        )

    assert "orders does not exist" in (await lines())[0]
    await world.database.create_collection("orders")
    assert await lines() == []
    await world.database.orders.insert_many([{"_id": n, "status": "new"} for n in range(3)])
    assert await lines() == []
    assert "none of the newest 3 documents" in (await lines(field="statuss"))[0]
    assert await lines(field="statuss", wanted=None) == []
    async with world.client.start_session() as session, await session.start_transaction():
        await world.outbox.append(session, STREAM.name, {"n": "1"}, key="1")
    assert (
        '_id of type int, and the keys of messages are read as strings and ObjectIds; declare "id_type"'
        in (await lines())[0]
    )
    assert await lines(id_type="int") == []
    assert "are read as uuid" in (await lines(id_type="uuid"))[0]

    async def unauthorized(*_: object, **__: object) -> list[str]:
        raise OperationFailure("not allowed", 13)

    monkeypatch.setattr(AsyncDatabase, "list_collection_names", unauthorized)
    assert await lines(id_type="int") == []
    monkeypatch.setattr(subject_check, "sample", unauthorized)
    assert "orders cannot be read: not allowed" in (await lines())[0]


async def test_verify_names_what_waits_for_nothing(world: World) -> None:
    """Documents without any message; and those that a handler has left waiting, which come again."""
    owner = await world.owner(seconds=60)
    first = await append(world, *SETTLED)
    await world.database[OUTBOX].delete_many({"_id": {"$in": first}})
    left = await append(world, *WANTED)
    await owner.drain_all()
    await world.database[OUTBOX].update_many({"_id": {"$in": left}}, {"$set": {"state": "completed"}})
    await append(world, "under way")
    system = a_system(world, world.streams)
    nothing, unsettled = await verify.subjects_wait_for_a_message(system)
    assert (nothing.check, nothing.count) == ("file-without-message", len(SETTLED))
    assert (unsettled.check, unsettled.count) == ("completed-but-waiting", len(WANTED))
    assert unsettled.repair
    assert await unsettled.repair() == len(WANTED)
    assert await in_state(world, "pending") >= set(left)
    assert await about_nothing.messages_have_a_subject(system) == []
    await jobs(world).delete_many({})
    assert await about_nothing.messages_have_a_subject(system) == []  # an empty collection may be another one
    await jobs(world).insert_one({"_id": "done", "status": {"parsing": "done"}})
    [finding] = await about_nothing.messages_have_a_subject(system)
    assert (finding.check, finding.count) == ("message-without-file", len(left) + 1)


async def test_a_key_that_is_not_of_the_declared_type_is_refused(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    stream = Stream(STREAM.name, STREAM.group, partitions=1, subject=Subject("orders", "status", "new", "int"))
    async with a_world(mongo, database, redis, [stream]) as world:
        async with world.client.start_session() as session, await session.start_transaction():
            with pytest.raises(InvalidMessage, match="'one' is no int, which is the type of _id"):
                await world.outbox.append(session, STREAM.name, {"n": "1"}, key="one")
            await world.outbox.append(session, STREAM.name, {"n": "1"}, key="one", subject=1)
            await world.outbox.append(session, STREAM.name, {"n": "1"}, key="1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"collection": ""}, {"collection": "a$b"}, {"collection": "system.users"}, {"field": ""}, {"field": "a..b"},
        {"field": "$where"}, {"wanted": []}, {"wanted": [["a"]]}, {"wanted": {"$ne": 1}}, {"id_type": "text"},
        {"failure": {"$set": 1}}, {"failure": {"parsing": "{error}"}}, {"failure": {"parsing": "queued"}},
    ],
)  # fmt: skip
def test_a_subject_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(SettingsError, match="subject "):
        Subject(**wrong)


def test_a_declaration_is_the_same_when_it_was_registered() -> None:
    wanted = [1, None, True, THEN, UUID(int=1), Decimal128("1.0"), ObjectId(HEX + "1"), b"x"]
    subject = Subject("odd jobs", "a.b", wanted, "uuid", {"a.b": "failed: {error}", "at": THEN})
    stream = Stream("jobs", "workers", subject=subject)
    document = decode(encode({"_id": stream.name, "revision": 1, **agreement.dump(stream)}), codec_options=LENIENT)
    assert registry.load(document) == stream
    assert not list(agreement.differing(agreement.dump(registry.load(document)), agreement.dump(stream)))

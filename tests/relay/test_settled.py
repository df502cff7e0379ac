"""What was settled is not published again after a loss, also when its subject is wanted again by a newer message.

On real servers; the worker is a plain one: it sets `parsed`, acknowledges, and its message stays `published`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import OUTBOX, Document
from outbox.draft import Draft
from outbox.message.document import State
from outbox.operations import dead, replay
from outbox.streams.declaration import Stream, Subject
from outbox_api.uploads.migration import Migration
from outbox_api.uploads.reparse import reparse
from tests.relay.world import STREAM, Owner, World, a_world, notice, remembering

OTHER = Stream("thumbnails", "thumbnailers", partitions=1, subject=Subject())


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with remembering(mongo), a_world(mongo, database, redis, [STREAM, OTHER]) as world:
        yield world


@pytest.fixture
async def owner(world: World) -> Owner:
    return await world.owner(seconds=60)


def keys(count: int) -> list[str]:
    return [str(ObjectId()) for _ in range(count)]


async def published(world: World, owner: Owner, *of: str) -> list[str]:
    ids = await world.append(*of)
    await owner.drain_all()
    return [str(id_) for id_ in ids]


async def lose_everything(world: World, owner: Owner) -> list[str]:
    """The ids of the messages that come again."""
    await world.redis.flushall()
    await notice(owner)
    return await world.published_ids()


async def test_files_that_are_parsed_again_right_before_a_loss_come_once(world: World, owner: Owner) -> None:
    """By our own reparse: in the same transaction, the older messages are on record as done."""
    files = keys(20)
    await published(world, owner, *files)
    await world.settle(*files)
    again = await reparse(world.database, world.outbox, [ObjectId(key) for key in files[:5]])
    states = await world.states()
    assert sorted(states.values()) == ["completed"] * 5 + ["pending"] * 5 + ["published"] * 15
    await owner.drain_all()
    assert sorted(await lose_everything(world, owner)) == sorted(map(str, again.values()))


async def test_another_application_appends_a_newer_message_right_before_a_loss(world: World, owner: Owner) -> None:
    files = keys(20)
    await published(world, owner, *files)
    await world.settle(*files)
    again = await published(world, owner, *files[:5])
    assert await lose_everything(world, owner) == again
    assert sorted((await world.states()).values()) == ["completed"] * 20 + ["published"] * 5


async def test_an_older_message_that_was_never_settled_comes_again_too(world: World, owner: Owner) -> None:
    [first] = await published(world, owner, "a")
    [second] = await published(world, owner, "a")
    assert await lose_everything(world, owner) == [first, second]


async def test_it_was_settled_before_one_of_several_newer_ones(world: World, owner: Owner) -> None:
    """Not before the last: what was settled stays settled."""
    await published(world, owner, "a")
    await world.settle("a")
    second, third = await published(world, owner, "a", "a")
    assert await lose_everything(world, owner) == [second, third]


async def test_the_newer_message_is_completed_and_a_third_makes_the_file_wanted(world: World, owner: Owner) -> None:
    await published(world, owner, "a")
    await world.settle("a")
    [second] = await published(world, owner, "a")
    await world.settle("a")
    await world.database[OUTBOX].update_one({"_id": ObjectId(second)}, {"$set": {"state": "completed"}})
    [third] = await published(world, owner, "a")
    assert await lose_everything(world, owner) == [third]


@pytest.mark.parametrize("state", [State.SCHEDULED, State.DEAD, State.COMPLETED, State.PENDING])
async def test_the_newer_message_may_be_in_any_state(state: State, world: World, owner: Owner) -> None:
    [first] = await published(world, owner, "a")
    await world.settle("a")
    [newer] = await world.append("a")
    values: Document = {"state": state.value, "available_at": datetime.now(UTC) + timedelta(hours=1)}
    await world.database[OUTBOX].update_one({"_id": newer}, {"$set": values})
    assert first not in await lose_everything(world, owner)
    assert (await world.states())[ObjectId(first)] == "completed"


async def test_the_newer_message_may_be_in_another_stream_of_the_subject(world: World, owner: Owner) -> None:
    [first] = await published(world, owner, "a")
    await world.settle("a")
    await world.append("a", stream=OTHER.name)
    assert await lose_everything(world, owner) == []
    assert (await world.states())[ObjectId(first)] == "completed"


async def test_a_message_that_was_not_committed_yet_is_not_settled_by_what_was_before(
    world: World, owner: Owner
) -> None:
    """A newer one that is appended before the older one commits, and without a write to the file: its position says
    nothing of what has become of the older."""
    await world.database.files.insert_one({"_id": "a", "parsing": "uploading"})
    async with world.client.start_session() as early, world.client.start_session() as late:
        async with await early.start_transaction(), await late.start_transaction():
            await world.database.files.update_one({"_id": "a"}, {"$set": {"parsing": "queued"}}, session=early)
            older = await world.outbox.append(early, STREAM.name, {"file_id": "a"}, key="a")
            newer = await world.outbox.append(late, STREAM.name, {"file_id": "a"}, key="a")
            await late.commit_transaction()
            await early.commit_transaction()
    await owner.drain_all()
    assert sorted(await lose_everything(world, owner)) == sorted(map(str, (older, newer)))


async def test_a_dead_message_that_is_retried_is_wanted(world: World, owner: Owner) -> None:
    """Its file ended in an error, and a newer message died as well: the retry has made the file wanted for it."""
    [first, second] = await world.append("a", "a")
    dead_now: Document = {"$set": {"state": "dead", "last_error": "x"}}
    await world.database[OUTBOX].update_one({"_id": first}, dead_now)
    await world.database.files.update_one({"_id": "a"}, {"$set": {"parsing": "error: x"}})
    await world.database[OUTBOX].delete_one({"_id": second})
    [second] = await world.append("a")
    await world.database[OUTBOX].update_one({"_id": second}, dead_now)
    await world.database.files.update_one({"_id": "a"}, {"$set": {"parsing": "error: x"}})
    await dead.retry(world.database, world.streams, first)
    await owner.drain_all()
    assert await lose_everything(world, owner) == [str(first)]


async def test_a_retry_does_not_bring_back_an_older_message_of_its_file(world: World, owner: Owner) -> None:
    [older] = await published(world, owner, "a")
    await world.settle("a")
    [dying] = await world.append("a")
    await world.database[OUTBOX].update_one({"_id": dying}, {"$set": {"state": "dead", "last_error": "x"}})
    await world.database.files.update_one({"_id": "a"}, {"$set": {"parsing": "error: x"}})
    await dead.retry(world.database, world.streams, dying)
    assert (await world.states())[ObjectId(older)] == "completed"
    await owner.drain_all()
    assert await lose_everything(world, owner) == [str(dying)]


async def test_a_migration_does_not_bring_back_an_older_message_of_its_file(world: World, owner: Owner) -> None:
    [key] = keys(1)
    [older] = await published(world, owner, key)
    await world.database.files.update_one({"_id": ObjectId(key)}, {"$set": {"parsing": "parsing start"}})
    await Migration(world.database, world.redis, world.streams).run(who="test")
    assert (await world.states())[ObjectId(older)] == "completed"


async def test_a_settled_message_that_was_replayed_stays_settled(world: World, owner: Owner) -> None:
    [first] = await published(world, owner, "a")
    await world.settle("a")
    await replay.replay(world.database, replay.Selection(ids=(ObjectId(first),)))
    await owner.drain_all()
    [second] = await published(world, owner, "a")
    assert await lose_everything(world, owner) == [second]


async def test_a_subject_that_is_not_there_says_nothing(world: World, owner: Owner) -> None:
    [lost] = await published(world, owner, "a")
    await world.database.files.delete_one({"_id": "a"})
    assert await lose_everything(world, owner) == [lost]


async def test_a_key_in_capitals_names_its_subject(world: World, owner: Owner) -> None:
    [key] = keys(1)
    [lost] = await published(world, owner, key.upper())
    assert await lose_everything(world, owner) == [lost]
    await world.settle(key)
    assert await lose_everything(world, owner) == []


async def test_what_mongodb_does_not_remember_comes_again(world: World, owner: Owner) -> None:
    [first] = await published(world, owner, "a")
    await world.settle("a")
    [second] = await published(world, owner, "a")
    window: Document = {"setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0}
    admin = world.client.admin
    before = await admin.command({"getParameter": 1, "minSnapshotHistoryWindowInSeconds": 1})
    await admin.command(window)
    try:
        await world.append("b")  # so that time goes on
        assert set(await lose_everything(world, owner)) >= {second}
        assert first in await world.published_ids() or (await world.states())[ObjectId(first)] == "completed"
    finally:
        name = "minSnapshotHistoryWindowInSeconds"
        await admin.command({"setParameter": 1, name: before[name]})


async def test_a_batch_that_was_appended_together_is_looked_at_once(world: World, owner: Owner) -> None:
    many = [f"key-{number}" for number in range(200)]
    async with world.client.start_session() as session:
        await session.with_transaction(lambda s: _append_all(world, s, many))
    await owner.drain_all()
    await world.settle(*many)
    async with world.client.start_session() as session:
        await session.with_transaction(lambda s: _append_all(world, s, many))
    await owner.drain_all()
    assert len(await lose_everything(world, owner)) == 200


async def _append_all(world: World, session: Any, keys: list[str]) -> None:
    for key in keys:
        await world.database.files.update_one(
            {"_id": key}, {"$set": {"parsing": "queued"}}, upsert=True, session=session
        )
    await world.outbox.append_many(session, STREAM.name, [Draft({"file_id": key}, key) for key in keys])

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import State, Stream, UsageError
from outbox.database import OUTBOX, Database, Document
from outbox.errors import KeyTaken
from outbox.operations import jobs, replay
from outbox.operations.replay import Replayed
from outbox.operations.selection import Selection
from outbox.servers.clock import server_time
from outbox.streams import registry
from outbox.streams.declaration import FILE_STREAM
from tests.outbox.shelf import AN_HOUR, Shelf
from tests.relay.world import a_world

ALL = Selection(stream=FILE_STREAM)
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "nothing is selected"),
        ({"states": (State.COMPLETED, State.PUBLISHED)}, "nothing is selected"),
        ({"since": datetime(2026, 1, 1)}, "since has no time zone"),  # noqa: DTZ001
        ({"until": datetime(2026, 1, 1)}, "until has no time zone"),  # noqa: DTZ001
        ({"since": NOW, "until": NOW}, "earlier than until"),
        ({"key": "k", "states": (State.DEAD,)}, "dead; only published and completed"),
        ({"key": "k", "states": ()}, "none; only published"),
        ({"stream": "", "since": NOW}, "stream is empty"),
        ({"key": "", "stream": FILE_STREAM}, "key is empty"),
        ({"ids": tuple(ObjectId() for _ in range(10_001))}, "more than 10000"),
    ],
)
def test_a_selection_that_cannot_be_meant_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Selection(**values)


async def test_the_same_request_may_name_its_messages_in_another_order_or_twice(db: Database, shelf: Shelf) -> None:
    a, b, c = await shelf.put(State.PUBLISHED, 3)
    asked: dict[str, Any] = {"who": "anna", "request": "incident-1", "rate": 100_000}
    first = await jobs.create(db, Selection(ids=(a, b)), **asked)
    for ids in ((b, a), (a, b, a)):
        assert (await jobs.create(db, Selection(ids=ids), **asked)).id == first.id
    for ids in ((a, c), (a, b, c)):
        with pytest.raises(KeyTaken):
            await jobs.create(db, Selection(ids=ids), **asked)


async def test_published_and_completed_messages_become_pending_and_no_others(db: Database, shelf: Shelf) -> None:
    ids = {state: (await shelf.put(state))[0] for state in State}
    assert await replay.count(db, ALL) == 2
    assert await replay.replay(db, ALL) == Replayed(selected=2, replayed=2)
    assert await shelf.states(*ids.values()) == ["scheduled", "pending", "pending", "pending", "dead"]


async def test_what_a_replay_writes(db: Database, shelf: Shelf) -> None:
    [id_] = await shelf.put(State.COMPLETED, attempts=3, batch=9, tag="x")
    before = await server_time(db)
    await replay.replay(db, Selection(ids=(id_,)))
    message = await shelf.get(id_)
    assert (message["attempts"], message["batch"], message["tag"], message["replayed"]) == (3, 9, "x", 1)
    assert message["replayed_at"] >= before
    assert "completed_at" not in message


async def test_each_option_narrows(db: Database, shelf: Shelf) -> None:
    await registry.register(db, [Stream("other", "others")])
    [mine] = await shelf.put(State.PUBLISHED, key="a", at=NOW - 2 * AN_HOUR)
    [other_key] = await shelf.put(State.PUBLISHED, key="b", at=NOW - 2 * AN_HOUR)
    [later] = await shelf.put(State.COMPLETED, key="a", at=NOW - AN_HOUR)
    [other_stream] = await shelf.put(State.PUBLISHED, key="a", stream="other", at=NOW - 2 * AN_HOUR)

    async def selected(**values: Any) -> int | None:
        return await replay.count(db, Selection(**values))

    assert await selected(key="a") == 3
    assert await selected(stream="other") == 1
    assert await selected(stream=FILE_STREAM, key="a") == 2
    assert await selected(since=NOW - 1.5 * AN_HOUR) == 1
    assert await selected(until=NOW - 1.5 * AN_HOUR) == 3
    assert await selected(since=NOW - 3 * AN_HOUR, until=NOW - 1.5 * AN_HOUR, key="b") == 1
    assert await selected(states=(State.COMPLETED,)) == 1
    assert await selected(ids=(mine, later, ObjectId())) == 2
    assert await selected(ids=(mine, other_key, other_stream), key="a") == 2


async def test_since_is_included_and_until_is_not(db: Database, shelf: Shelf) -> None:
    at = NOW.replace(microsecond=0) - AN_HOUR
    await shelf.put(State.PUBLISHED, at=at)
    assert await replay.count(db, Selection(since=at, until=at + timedelta(seconds=1))) == 1
    assert await replay.count(db, Selection(since=at - AN_HOUR, until=at)) == 0


async def test_many_pages_select_each_message_once(db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE", 10)
    ids = await shelf.put(State.PUBLISHED, 45)
    told: list[Replayed] = []
    assert await replay.replay(db, ALL, progress=told.append) == Replayed(45, 45)
    assert [done.selected for done in told] == [10, 20, 30, 40, 45]
    assert set(await shelf.states(*ids)) == {"pending"}
    assert await db[OUTBOX].count_documents({"replayed": 1}) == 45


async def test_what_is_published_again_meanwhile_is_not_selected_again(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clocks say: here the relay's publications seem to lie far back."""
    monkeypatch.setattr(replay, "PAGE", 1)
    ids = await shelf.put(State.PUBLISHED, 10)
    original = db[OUTBOX].update_many
    published = 0

    async def publish(query: Document) -> None:
        nonlocal published
        done = await original({"state": "pending"}, {"$set": {"state": "published", "published_at": NOW - AN_HOUR}})
        published += done.modified_count

    pages = replay._pages

    async def with_a_quick_relay(*arguments: Any, **options: Any) -> Any:
        async for page in pages(*arguments, **options):
            yield page
            await publish({})

    monkeypatch.setattr(replay, "_pages", with_a_quick_relay)
    assert await replay.replay(db, ALL) == Replayed(10, 10)
    assert published == 10
    assert set(await shelf.states(*ids)) == {"published"}
    assert await db[OUTBOX].count_documents({"replayed": 1}) == 10


async def test_what_was_published_after_the_count_is_left_out(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED)
    before = await server_time(db)
    [late] = await shelf.put(State.PUBLISHED, published_at=before + timedelta(milliseconds=1))
    assert await replay.count(db, ALL, before=before) == 1
    assert await replay.replay(db, ALL, before=before) == Replayed(1, 1)
    assert await shelf.states(late) == ["published"]


async def test_what_was_found_in_the_stream_by_recovery_has_no_time_and_is_selected(db: Database, shelf: Shelf) -> None:
    [id_] = await shelf.put(State.PUBLISHED)
    await shelf.messages.update_one({"_id": id_}, {"$unset": {"published_at": ""}})
    assert await replay.replay(db, ALL) == Replayed(1, 1)


async def test_a_message_that_left_the_selection_since_its_page_was_read_is_not_touched(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = await shelf.put(State.PUBLISHED, 2)
    pages = replay._pages

    async def with_another_operator(*arguments: Any, **options: Any) -> Any:
        async for page in pages(*arguments, **options):
            await shelf.messages.update_one({"_id": gone}, {"$set": {"state": "pending"}})
            yield page

    monkeypatch.setattr(replay, "_pages", with_another_operator)
    assert await replay.replay(db, ALL) == Replayed(selected=2, replayed=1)
    assert (await shelf.get(gone)).get("replayed") is None
    assert (await shelf.get(stays))["replayed"] == 1


async def test_a_walk_does_not_sort_for_each_page(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 3)
    plan = await db[OUTBOX].find(ALL.query(NOW), {"_id": 1}).sort("_id").limit(2).hint("_id_").explain()
    assert "SORT" not in str(plan["queryPlanner"]["winningPlan"])


async def test_the_same_messages_enter_the_stream_again_one_attempt_higher(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    async with a_world(mongo, database, redis) as world:
        owner = await world.owner()
        keys = [str(ObjectId()) for _ in range(3)]
        ids = [str(id_) for id_ in await world.append(*keys)]
        await owner.drain_all()
        await replay.replay(world.database, ALL)
        assert await replay.count(world.database, ALL) == 0  # all pending: nothing to replay
        assert await owner.drain_all() == 3
        entries = [(entry["message_id"], entry["attempt"]) for entry in await world.entries()]
        assert entries == [(id_, "1") for id_ in ids] + [(id_, "2") for id_ in ids]
        await replay.replay(world.database, ALL)  # a second identical call replays what was published since
        assert await owner.drain_all() == 3
        assert [entry["attempt"] for entry in await world.entries()][6:] == ["3", "3", "3"]


async def test_a_replay_right_after_a_batch_survives_the_crash_of_the_relay(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    """The next owner finds the batch at the checkpoint, and must not take the replayed messages for unmarked ones."""
    async with a_world(mongo, database, redis) as world:
        await world.append(str(ObjectId()))
        await (await world.owner("first")).drain_all()
        await replay.replay(world.database, ALL)
        assert await (await world.owner("second")).drain_all() == 1
        assert [entry["attempt"] for entry in await world.entries()] == ["1", "2"]


@pytest.mark.parametrize("year", [1, 1969, 2107, 9998])
async def test_times_that_no_id_can_hold_select_all_or_nothing(year: int, db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED)
    assert await replay.count(db, Selection(since=datetime(year, 1, 1, tzinfo=UTC))) == (year < NOW.year)
    assert await replay.count(db, Selection(until=datetime(year, 12, 31, tzinfo=UTC))) == (year > NOW.year)

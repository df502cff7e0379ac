from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from outbox import State, Stream, Streams
from outbox.database import PARTITIONS, STREAMS, Database, Document
from outbox.message import transitions
from outbox.operations import replay, upkeep
from outbox.protocol.settled import settled
from tests.outbox.shelf import Shelf

DAY = timedelta(days=1)
OLD = datetime.now(UTC) - 8 * DAY


async def test_what_is_due_becomes_pending_and_nothing_else(db: Database, shelf: Shelf) -> None:
    [due] = await shelf.put(State.SCHEDULED, available_at=datetime.now(UTC) - timedelta(seconds=1))
    [later] = await shelf.put(State.SCHEDULED, available_at=datetime.now(UTC) + DAY)
    [dead] = await shelf.put(State.DEAD, available_at=OLD)
    assert await upkeep.stage(db) == 1
    assert await shelf.states(due, later, dead) == ["pending", "scheduled", "dead"]
    assert await upkeep.stage(db) == 0


async def test_whether_it_is_due_is_decided_by_the_servers_clock(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + DAY

    [later] = await shelf.put(State.SCHEDULED, available_at=datetime.now(UTC) + timedelta(hours=1))
    monkeypatch.setattr(upkeep, "datetime", Tomorrow, raising=False)
    assert await upkeep.stage(db) == 0
    assert await shelf.states(later) == ["scheduled"]


async def prune(db: Database, streams: Streams) -> int:
    return await upkeep.prune(db, streams, older_than=7 * DAY)


async def test_completed_messages_past_retention_are_deleted(db: Database, streams: Streams, shelf: Shelf) -> None:
    [old] = await shelf.put(State.COMPLETED, at=OLD)
    [young] = await shelf.put(State.COMPLETED)
    assert await prune(db, streams) == 1
    assert await shelf.messages.find_one({"_id": old}) is None
    assert await shelf.states(young) == ["completed"]


async def test_published_ones_only_when_their_file_is_settled(db: Database, streams: Streams, shelf: Shelf) -> None:
    kept = await shelf.put(State.PUBLISHED, at=OLD, key=await shelf.put_file("queued"))
    await shelf.put(State.PUBLISHED, at=OLD, key=await shelf.put_file("parsed"))
    await shelf.put(State.PUBLISHED, at=OLD, key=await shelf.put_file("error: x"))
    kept += await shelf.put(State.PUBLISHED, at=OLD, key=str(ObjectId()))  # its file is gone, which says nothing
    assert await prune(db, streams) == 2
    assert await shelf.states(*kept) == ["published", "published"]


async def test_published_ones_of_a_stream_without_a_subject_stay(db: Database, shelf: Shelf) -> None:
    """Nobody can tell whether they are still wanted, and recovery needs those that are."""
    kept = await shelf.put(State.PUBLISHED, at=OLD, stream="exports")
    await shelf.put(State.COMPLETED, at=OLD, stream="exports")
    assert await prune(db, Streams([Stream("exports", "g")])) == 1
    assert await shelf.states(*kept) == ["published"]


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.DEAD])
async def test_what_has_not_arrived_is_never_deleted(
    state: State, db: Database, streams: Streams, shelf: Shelf
) -> None:
    kept = await shelf.put(state, at=OLD, published_at=OLD)
    assert await prune(db, streams) == 0
    assert await shelf.states(*kept) == [state]


async def test_an_old_message_that_was_published_lately_stays(db: Database, streams: Streams, shelf: Shelf) -> None:
    """It was replayed or had waited long: its entry may be lost yet."""
    key = await shelf.put_file("parsed")
    kept = await shelf.put(State.PUBLISHED, at=OLD, key=key, published_at=datetime.now(UTC))
    assert await prune(db, streams) == 0
    assert await shelf.states(*kept) == ["published"]


@pytest.mark.parametrize("state", [State.COMPLETED, State.PUBLISHED])
async def test_what_is_replayed_while_it_is_judged_is_not_deleted(
    state: State, db: Database, streams: Streams, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is published again by then. Whether that was before or after, no clock tells: the server's was set back."""
    [id_] = await shelf.put(state, at=OLD, key=await shelf.put_file("parsed"))
    [other] = await shelf.put(state, at=OLD, key=await shelf.put_file("parsed"), attempts=3)

    async def meanwhile(*arguments: Any) -> set[ObjectId]:
        done: set[ObjectId] = await settled(*arguments)
        assert await replay.one(db, id_, who="an operator")
        place = transitions.Place(2, "u", {"first": "1-0", "last": "1-0"}, 2)
        assert (await shelf.messages.update_one(*transitions.publish([id_], place, token=1))).modified_count
        await shelf.messages.update_one({"_id": id_}, {"$set": {"published_at": OLD}})
        return done

    monkeypatch.setattr(upkeep, "settled", meanwhile)
    assert await prune(db, streams) == 1
    assert await shelf.states(id_) == ["published"]
    assert await shelf.messages.find_one({"_id": other}) is None


async def test_what_others_have_written_as_attempts_keeps_no_completed_message(
    db: Database, streams: Streams, shelf: Shelf
) -> None:
    for odd in (None, [1], {"a": 1}, 1.0, "1"):
        await shelf.put(State.COMPLETED, at=OLD, attempts=odd)
    assert await prune(db, streams) == 5


async def test_many_pages(db: Database, streams: Streams, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PAGE", 10)
    queued, parsed = await shelf.put_file("queued"), await shelf.put_file("parsed")
    for _ in range(6):
        await shelf.put(State.PUBLISHED, 5, at=OLD, key=queued)
        await shelf.put(State.PUBLISHED, 5, at=OLD, key=parsed)
        await shelf.put(State.COMPLETED, 5, at=OLD)
    assert await prune(db, streams) == 60
    assert await shelf.messages.count_documents({}) == 30


async def test_messages_that_nobody_drains_are_dead_with_a_reason(db: Database, shelf: Shelf) -> None:
    [drained] = await shelf.put(State.PENDING)
    strays = [
        *await shelf.put(State.PENDING, stream="never declared"),
        *await shelf.put(State.PENDING, partition=99),
        *await shelf.put(State.PENDING, partition="odd"),
        *await shelf.put(State.PENDING, stream=None),
    ]
    assert await upkeep.bury_strays(db) == 4
    assert await upkeep.bury_strays(db) == 0
    assert await shelf.states(*strays) == ["dead"] * 4
    assert "declare the stream in OUTBOX_STREAMS" in (await shelf.get(strays[0]))["last_error"]
    assert "outbox streams change STREAM --partitions" in (await shelf.get(strays[1]))["last_error"]
    assert await shelf.states(drained) == ["pending"]


async def test_what_is_appended_while_strays_are_looked_for_is_none(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream may have been registered right before, after the registry was read."""
    [stray] = await shelf.put(State.PENDING, stream="never declared")
    queries = await upkeep.strays(db)
    [later] = await shelf.put(State.PENDING, stream="declared now")

    async def as_they_were(_: object) -> list[Document]:
        return queries

    monkeypatch.setattr(upkeep, "strays", as_they_were)
    assert await upkeep.bury_strays(db) == 1
    assert await shelf.states(stray, later) == ["dead", "pending"]


@pytest.mark.parametrize("gone", [{PARTITIONS: {"number": 0}}, {PARTITIONS: {}}, {PARTITIONS: {}, STREAMS: {}}])
async def test_a_backlog_outlives_the_deletion_of_what_init_makes(
    db: Database, shelf: Shelf, gone: dict[str, dict[str, int]]
) -> None:
    """By mistake, or for a moment, as by `mongorestore --drop`."""
    backlog = await shelf.put(State.PENDING, partition=0)
    for name, query in gone.items():
        assert (await db[name].delete_many(query)).deleted_count
    assert await upkeep.bury_strays(db) == 0
    assert await shelf.states(*backlog) == ["pending"]


async def test_a_backlog_outlives_a_registry_that_is_not_understood(db: Database, shelf: Shelf) -> None:
    """Neither of the streams that are known, without a lease, nor of those that the others may register."""
    later = {"revision": 1, "group": "g", "partitions": "many"}
    # Also under a name that MongoDB cannot search for, which is no stream's.
    await db[STREAMS].insert_many([{"_id": "later", **later}, {"_id": "a.c", **later}, {"_id": "\0", "x": 1}])
    assert (await db[PARTITIONS].delete_many({"number": 0})).deleted_count
    await db[PARTITIONS].insert_one({"_id": "later/0", "stream": "later", "number": 0})
    backlog = [
        *await shelf.put(State.PENDING, partition=0),
        *await shelf.put(State.PENDING, stream="later", partition=7),
        *await shelf.put(State.PENDING, stream="later:low", partition=0),
        *await shelf.put(State.PENDING, stream="a.c", partition=0),
    ]
    strays = [
        *await shelf.put(State.PENDING, stream="laterally"),
        *await shelf.put(State.PENDING, stream="abc"),
        *await shelf.put(State.PENDING, partition=99),
    ]
    assert await upkeep.bury_strays(db) == len(strays)
    assert await shelf.states(*strays) == ["dead"] * len(strays)
    assert await shelf.states(*backlog) == ["pending"] * len(backlog)

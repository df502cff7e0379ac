"""Messages that entries of other producers became, see outbox/worker/adoption.py, are found by their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from outbox import State, Streams
from outbox.database import OUTBOX, Database
from outbox.delivery.entries import Entry
from outbox.operations import replay, upkeep
from outbox.operations.selection import Selection
from outbox.streams.declaration import FILES
from outbox.worker.adoption import message_of
from tests.outbox.shelf import AN_HOUR, Shelf

DAY = timedelta(days=1)
NO_TIMES = ["1-1", "1700000000-0", f"{10**16}-0", f"{2**64 - 1}-7"]
"""Ids of entries that their producers chose: a number, seconds, microseconds, the largest there is."""


async def adopted(db: Database, entry: str, **values: Any) -> ObjectId:
    """A message that an entry became, published by now."""
    now = datetime.now(UTC)
    made = message_of(Entry(FILES, entry, {"file_id": str(ObjectId())}, None))
    published = {"state": State.PUBLISHED.value, "attempts": 1, "batch": 1, "tag": "t", "published_at": now}
    await db[OUTBOX].insert_one(made | published | values)
    return ObjectId(made["_id"])


def added(ago: timedelta) -> str:
    return f"{int((datetime.now(UTC) - ago).timestamp() * 1000)}-0"


async def selected(db: Database, **values: Any) -> int | None:
    return await replay.count(db, Selection(**values))


@pytest.mark.parametrize("waited", [timedelta(0), 3 * AN_HOUR, 2 * DAY])
async def test_one_that_waited_for_a_worker_is_selected_by_when_its_entry_was_added(
    waited: timedelta, db: Database
) -> None:
    id_ = await adopted(db, added(waited))
    now = datetime.now(UTC)
    assert await selected(db, since=now - waited - AN_HOUR / 4) == 1
    assert await selected(db, since=now - waited - AN_HOUR / 4, until=now - waited + AN_HOUR / 4) == 1
    assert await selected(db, since=now - waited + AN_HOUR / 4) == 0
    assert await selected(db, until=now - waited - AN_HOUR / 4) == 0
    assert await replay.replay(db, Selection(since=now - waited - AN_HOUR / 4)) == replay.Replayed(1, 1)
    assert await db[OUTBOX].count_documents({"_id": id_, "state": "pending"}) == 1


@pytest.mark.parametrize("entry", NO_TIMES)
async def test_one_whose_entry_has_no_time_is_selected_by_when_it_was_adopted(entry: str, db: Database) -> None:
    await adopted(db, entry)
    now = datetime.now(UTC)
    assert await selected(db, since=now - AN_HOUR / 4) == 1
    assert await selected(db, since=now - AN_HOUR / 4, until=now + AN_HOUR / 4) == 1
    assert await selected(db, since=now + AN_HOUR / 4) == 0
    assert await selected(db, until=now + AN_HOUR / 4) == 1
    assert await replay.replay(db, Selection(since=now - AN_HOUR / 4)) == replay.Replayed(1, 1)


async def test_a_time_still_selects_a_part_of_the_outbox_that_is_read_alone(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 50, at=datetime.now(UTC) - DAY)
    await shelf.put(State.PUBLISHED, 2)
    await adopted(db, "1-1")
    query = Selection(since=datetime.now(UTC) - 2 * AN_HOUR).query(datetime.now(UTC))
    plan = await db[OUTBOX].find(query, {"_id": 1}).sort("_id").limit(10).hint("_id_").explain()
    assert plan["executionStats"]["totalDocsExamined"] == 3
    assert "'SORT'" not in str(plan["queryPlanner"]["winningPlan"])


@pytest.mark.parametrize("entry", [pytest.param(added(2 * DAY), id="two days ago"), *NO_TIMES])
def test_two_workers_that_adopt_one_entry_make_one_message(entry: str) -> None:
    first, second = (message_of(Entry(FILES, entry, {"file_id": "a"}, None)) for _ in range(2))
    assert first["_id"] == second["_id"]


@pytest.mark.parametrize("entry", [pytest.param(added(9 * DAY), id="nine days ago"), *NO_TIMES])
async def test_one_as_old_as_its_entry_is_kept_while_it_was_completed_lately(
    entry: str, db: Database, streams: Streams
) -> None:
    """Its worker was faster than the relay's mark. While the entry is not acknowledged, it may be adopted again."""
    now = datetime.now(UTC)
    id_ = await adopted(db, entry, state="completed", completed_at=now)
    await db[OUTBOX].update_one({"_id": id_}, {"$unset": {"published_at": ""}})
    assert await upkeep.prune(db, streams, older_than=7 * DAY) == 0
    await db[OUTBOX].update_one({"_id": id_}, {"$set": {"completed_at": now - 8 * DAY}})
    assert await upkeep.prune(db, streams, older_than=7 * DAY) == 1

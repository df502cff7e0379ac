from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from bson import MaxKey, MinKey, ObjectId
from pymongo.errors import AutoReconnect

from outbox.database import JOBS, OUTBOX, Database
from outbox.errors import JobEnded, KeyTaken, NoSuchJob, UsageError
from outbox.message.document import State
from outbox.operations import audit, jobs, replay
from outbox.operations.jobs import Job, Pace, Phase
from outbox.operations.selection import Selection
from outbox.streams.declaration import FILE_STREAM
from tests.outbox.shelf import AN_HOUR, Shelf, a_document

ALL = Selection(stream=FILE_STREAM)
FAST = 1_000_000.0
NOW = datetime.now(UTC)


async def ask(db: Database, selection: Selection = ALL, **options: Any) -> Job:
    return await jobs.create(db, selection, **{"who": "anna", "rate": FAST, **options})


async def finish(db: Database, job: Job, owner: str = "a", limit: int = 10) -> Job:
    claimed = await jobs.claim(db, owner, job=job.id)
    assert claimed
    while claimed.open:
        after = await jobs.step(db, claimed, owner, limit=limit)
        assert after
        claimed = after
    return claimed


async def publish_pending(db: Database) -> int:
    """What a relay does, as far as a replay can see."""
    done = await db[OUTBOX].update_many(
        {"state": "pending"}, {"$set": {"state": "published"}, "$currentDate": {"published_at": True}}
    )
    return done.modified_count


async def test_a_job_replays_what_is_selected_and_tells_of_it(db: Database, shelf: Shelf) -> None:
    ids = await shelf.put(State.PUBLISHED, 25)
    [dead] = await shelf.put(State.DEAD)
    job = await ask(db)
    assert (job.phase, job.selected, job.replayed, job.who) == (Phase.WAITING, 25, 0, "anna")
    done = await finish(db, job)
    assert (done.phase, done.selected, done.replayed) == (Phase.DONE, 25, 25)
    assert set(await shelf.states(*ids)) == {"pending"}
    assert await shelf.states(dead) == ["dead"]
    assert (await shelf.get(ids[0]))["replayed_by"] == job.id
    assert done.created_at
    assert done.started_at
    assert done.finished_at
    told = [(record.action, record.who, record.count) for record in (await audit.page(db)).records]
    assert told == [("replay done", "anna", 25), ("replay", "anna", 25)]


async def test_a_job_of_more_than_are_counted_tells_at_its_end_what_was_selected(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "COUNTED", 24, raising=False)
    await shelf.put(State.PUBLISHED, 25)
    done = await finish(db, await ask(db))
    assert (await ask(db, Selection(ids=(ObjectId(),)))).selected == 0
    assert (done.phase, done.selected, done.replayed) == (Phase.DONE, 25, 25)
    told = [(record.action, record.count) for record in (await audit.page(db)).records]
    assert told == [("replay", 0), ("replay done", 25), ("replay", None)]


@pytest.mark.parametrize("selection", [ALL, Selection(key="k"), Selection(since=NOW - timedelta(days=1))])
async def test_what_others_wrote_under_an_id_of_another_kind_stops_no_job(
    db: Database, shelf: Shelf, selection: Selection
) -> None:
    ids = await shelf.put(State.PUBLISHED, 15, key="k")
    others: list[Any] = [1, "text", "65a1f0c2e4b0a1b2c3d4e5f6", {"a": 1}, MaxKey(), MinKey(), None, NOW]
    for other in others:
        await db[OUTBOX].insert_one(
            a_document(State.PUBLISHED, key="k") | {"_id": other}, bypass_document_validation=True
        )
    job = await ask(db, selection)
    done = await finish(db, job, limit=4)
    assert (job.selected, done.phase, done.replayed) == (15, Phase.DONE, 15)
    assert set(await shelf.states(*ids)) == {"pending"}
    assert await db[OUTBOX].count_documents({"_id": {"$in": others}, "state": "published"}) == len(others)


async def test_a_cancelled_job_of_more_than_are_counted_does_not_guess(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "COUNTED", 24, raising=False)
    await shelf.put(State.PUBLISHED, 25)
    job = await ask(db)
    claimed = await jobs.claim(db, "a")
    assert claimed
    await jobs.step(db, claimed, "a", limit=10)
    cancelled = await jobs.cancel(db, job.id, who="ben")
    assert (cancelled.selected, cancelled.replayed) == (None, 10)


async def test_what_a_job_published_is_not_replayed_by_it_again(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 20)
    job = await ask(db)
    claimed = await jobs.claim(db, "a")
    while claimed and claimed.open:
        claimed = await jobs.step(db, claimed, "a", limit=3)
        await publish_pending(db)
    assert await db[OUTBOX].count_documents({"replayed": 1}) == 20
    assert (await jobs.find(db, job.id)).replayed == 20


async def test_a_crash_after_a_page_or_before_it_replays_no_message_twice(db: Database, shelf: Shelf) -> None:
    """Every owner dies after one page, and its successor knows nothing but what the database does."""
    await shelf.put(State.PUBLISHED, 20)
    job = await ask(db)
    for n in range(8):
        await db[JOBS].update_one({"_id": job.id}, {"$set": {"expires_at": NOW - AN_HOUR}})
        claimed = await jobs.claim(db, f"owner-{n}")
        assert claimed
        await jobs.step(db, claimed, f"owner-{n}", limit=3)
        await publish_pending(db)
    done = await jobs.find(db, job.id)
    assert (done.phase, done.replayed) == (Phase.DONE, 20)
    assert await db[OUTBOX].count_documents({"replayed": 1}) == 20


async def test_a_page_whose_progress_cannot_be_written_is_not_replayed(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.put(State.PUBLISHED, 5)
    job = await ask(db)
    claimed = await jobs.claim(db, "a")
    assert claimed
    put_back = replay.put_back

    async def then_die(*arguments: Any, **options: Any) -> int:
        await put_back(*arguments, **options)
        raise AutoReconnect("the relay is killed here")

    with monkeypatch.context() as patch:
        patch.setattr(replay, "put_back", then_die)
        with pytest.raises(AutoReconnect):
            await jobs.step(db, claimed, "a")
    assert await db[OUTBOX].count_documents({"state": "pending"}) == 0
    assert (await finish(db, job)).replayed == 5


async def test_two_owners_never_have_one_job(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 5)
    await ask(db)
    found = await asyncio.gather(*(jobs.claim(db, f"owner-{n}") for n in range(5)))
    assert len([job for job in found if job]) == 1
    other = await ask(db, Selection(key="k"))
    assert [job and job.id for job in [await jobs.claim(db, "late")]] == [other.id]


async def test_an_owner_that_slept_past_its_lease_replays_nothing(db: Database, shelf: Shelf) -> None:
    ids = await shelf.put(State.PUBLISHED, 5)
    job = await ask(db)
    slept = await jobs.claim(db, "a")
    assert slept
    await db[JOBS].update_one({"_id": job.id}, {"$set": {"expires_at": NOW - AN_HOUR}})
    assert await jobs.claim(db, "b")
    assert await jobs.step(db, slept, "a") is None
    assert set(await shelf.states(*ids)) == {"published"}


async def test_the_same_page_written_late_by_the_same_owner_changes_nothing(db: Database, shelf: Shelf) -> None:
    """As after a lost reply: the owner asks anew, and an old transaction arrives after all."""
    await shelf.put(State.PUBLISHED, 10)
    await ask(db)
    stale = await jobs.claim(db, "a")
    assert stale
    await jobs.step(db, stale, "a", limit=5)
    await publish_pending(db)
    assert await jobs.step(db, stale, "a", limit=5) is None
    assert await db[OUTBOX].count_documents({"replayed": {"$gt": 1}}) == 0


async def test_what_is_given_back_goes_on_at_once(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 5)
    job = await ask(db)
    assert await jobs.claim(db, "a")
    assert await jobs.claim(db, "b") is None
    await jobs.release(db, "a")
    assert (await finish(db, job, "b")).replayed == 5


async def test_a_cancelled_job_stops_after_the_page_in_hand(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 10)
    job = await ask(db)
    claimed = await jobs.claim(db, "a")
    assert claimed
    claimed = await jobs.step(db, claimed, "a", limit=4)
    assert claimed
    cancelled = await jobs.cancel(db, job.id, who="bob")
    assert (cancelled.phase, cancelled.replayed) == (Phase.CANCELLED, 4)
    assert await jobs.step(db, claimed, "a") is None
    assert await jobs.claim(db, "a") is None
    assert await db[OUTBOX].count_documents({"state": "pending"}) == 4
    [record] = (await audit.page(db, action="cancel replay")).records
    assert (record.who, record.count) == ("bob", 4)
    with pytest.raises(JobEnded, match="cancelled already"):
        await jobs.cancel(db, job.id, who="bob")
    with pytest.raises(NoSuchJob):
        await jobs.cancel(db, ObjectId(), who="bob")


async def test_the_same_request_twice_is_one_job(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 3)
    selection = Selection(since=NOW - 5 * AN_HOUR)  # with microseconds, which MongoDB does not keep
    first = await ask(db, selection, request="incident-1")
    await finish(db, first)
    await publish_pending(db)
    again = await ask(db, selection, request="incident-1")
    assert (again.id, again.phase) == (first.id, Phase.DONE)
    with pytest.raises(KeyTaken):
        await ask(db, Selection(key="other"), request="incident-1")
    assert await db[JOBS].count_documents({}) == 1
    assert len((await audit.page(db, action="replay")).records) == 1


async def test_the_same_request_many_times_at_once_is_one_job(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 3)
    asked = await asyncio.gather(*(ask(db, request="incident-2") for _ in range(8)))
    assert len({job.id for job in asked}) == 1
    assert await db[JOBS].count_documents({}) == 1


async def test_requests_without_a_name_are_jobs_of_their_own(db: Database, shelf: Shelf) -> None:
    assert (await ask(db)).id != (await ask(db)).id


@pytest.mark.parametrize("options", [{"rate": 0}, {"rate": float("nan")}, {"request": ""}, {"request": "x" * 256}])
async def test_what_cannot_be_meant_is_refused(options: dict[str, Any], db: Database) -> None:
    with pytest.raises(UsageError):
        await ask(db, **options)


async def test_files_select_their_messages(db: Database, shelf: Shelf) -> None:
    file = ObjectId()
    [mine] = await shelf.put(State.COMPLETED, key=str(file))
    await shelf.put(State.COMPLETED)
    assert (await finish(db, await ask(db, Selection(file=file)))).replayed == 1
    assert await shelf.states(mine) == ["pending"]
    with pytest.raises(UsageError, match="file and key differ"):
        Selection(file=file, key="other")


async def test_a_selection_survives_being_stored(db: Database) -> None:
    for selection in (
        Selection(since=NOW.replace(microsecond=0), until=NOW.replace(microsecond=0) + AN_HOUR, stream="s", key="k"),
        Selection(ids=(ObjectId(), ObjectId()), states=(State.COMPLETED,), file=ObjectId()),
    ):
        assert (await ask(db, selection)).selection == selection


async def test_a_rare_selection_is_found_in_short_walks(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "SCAN", 7)
    await shelf.put(State.PENDING, 30)
    [rare] = await shelf.put(State.COMPLETED)
    await shelf.put(State.PENDING, 30)
    assert (await finish(db, await ask(db, Selection(states=(State.COMPLETED,))))).replayed == 1
    assert (await shelf.get(rare))["replayed"] == 1


async def test_a_time_walks_only_its_part_of_the_outbox(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PUBLISHED, 50, at=NOW - timedelta(days=9))
    await shelf.put(State.PUBLISHED, 2)
    query = Selection(since=NOW - 3 * AN_HOUR).query(NOW + AN_HOUR)
    plan = await db[OUTBOX].find(query, {"_id": 1}).sort("_id").hint("_id_").explain()
    assert plan["executionStats"]["totalDocsExamined"] == 2


def test_a_pace_keeps_to_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("outbox.operations.pace.time", SimpleNamespace(monotonic=lambda: now))
    pace = Pace(100, now)
    assert pace.page == 50
    assert pace.wait() == 0
    pace.spent(50)
    assert pace.wait() == 0.5
    now += 0.125
    assert pace.wait() == 0.375
    assert Pace(0.1).page == 1
    assert Pace(FAST).page == replay.PAGE

"""Claims of jobs, and dead messages, are read a few at a time, however many there are."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import DatetimeMS, ObjectId, encode
from pymongo import AsyncMongoClient
from pymongo.errors import NetworkTimeout, OperationFailure, PyMongoError
from pymongo.monitoring import CommandListener, CommandStartedEvent, CommandSucceededEvent

from outbox import State
from outbox.database import JOBS, OUTBOX, Database, Document
from outbox.operations import claims, dead, jobs, replay
from outbox.operations.jobs import Phase
from outbox.operations.selection import Selection
from outbox.servers.clock import server_time
from outbox_relay.replays import Replays
from outbox_relay.service import Next
from tests.outbox.shelf import Shelf


class Reads(CommandListener):
    """How many documents each reply from a collection held, and how many bytes they were in all."""

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self.replies: list[int] = []
        self.bytes = 0

    def started(self, event: CommandStartedEvent) -> None:
        pass

    def succeeded(self, event: CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {})
        if str(cursor.get("ns", "")).endswith(f".{self._collection}"):
            found = cursor.get("firstBatch", cursor.get("nextBatch"))
            self.replies.append(len(found))
            self.bytes += sum(len(encode(document)) for document in found)

    def failed(self, event: object) -> None:
        pass


async def test_jobs_of_many_ids_are_not_all_read_for_a_claim(db: Database, mongodb_uri: str) -> None:
    many = Selection(ids=tuple(ObjectId() for _ in range(1000)))
    made = [await jobs.create(db, many, who="anna", rate=1000) for _ in range(12)]
    await db[JOBS].update_one({"_id": made[0].id}, {"$set": {"rate": "by others"}})
    reads = Reads(JOBS)
    async with AsyncMongoClient[Document](mongodb_uri, event_listeners=[reads], tz_aware=True) as client:
        claimed = await jobs.claim(Database(client, db.name), "a")
    assert claimed
    assert claimed.id == made[1].id
    one = len(encode({"ids": many.ids}))
    assert reads.bytes < 3 * one, reads.replies  # the one that cannot be read, and the one that is taken


async def test_dead_messages_come_a_few_at_a_time(db: Database, shelf: Shelf, mongodb_uri: str) -> None:
    """What is done with each takes its time, and MongoDB forgets a cursor that idles for ten minutes."""
    ids = await shelf.put(State.DEAD, 2 * dead.BATCH + 1)
    reads = Reads(OUTBOX)
    async with AsyncMongoClient[Document](mongodb_uri, event_listeners=[reads], tz_aware=True) as client:
        assert {id_ async for id_ in dead.ids(Database(client, db.name))} == {*ids}
    assert reads.replies == [dead.BATCH, dead.BATCH, 1]


TOO_LARGE_NOW = OperationFailure("transaction is too large and will not fit in the storage engine cache", 388, {})


@pytest.mark.parametrize("error", [TOO_LARGE_NOW, NetworkTimeout("timed out")], ids=["too large", "too slow"])
async def test_one_that_always_meets_an_outage_lets_the_others_go_first(
    error: PyMongoError, db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = await shelf.put(State.PUBLISHED, 2)
    failing, sound = [await jobs.create(db, Selection(ids=(one,)), who="anna", rate=1000) for one in (first, other)]
    put_back = replay.put_back

    async def refused(database: Database, found: replay.Page, **options: Any) -> int:
        if found.ids == (first,):
            raise error
        return await put_back(database, found, **options)

    monkeypatch.setattr(replay, "put_back", refused)
    monkeypatch.setattr(claims, "MOMENT_SECONDS", 50.0)  # longer than this test stands still
    replays = Replays(db, "a")
    with pytest.raises(type(error)):
        await replays.run_once()
    assert (await jobs.find(db, failing.id)).failure
    while (await replays.run_once()).next is Next.AGAIN:
        pass
    assert (await jobs.find(db, sound.id)).phase is Phase.DONE


async def test_what_seems_to_pass_costs_a_job_a_moment(db: Database) -> None:
    await jobs.create(db, Selection(key="k"), who="anna", rate=1000)
    claimed = await jobs.claim(db, "a")
    assert claimed
    await jobs.set_aside(db, claimed, "a", TOO_LARGE_NOW)
    stored = await db[JOBS].find_one({"_id": claimed.id})
    assert stored
    assert stored["not_before"] <= await server_time(db) + timedelta(seconds=2)


async def test_why_it_failed_is_told_without_what_the_driver_knows_of_the_servers(db: Database) -> None:
    await jobs.create(db, Selection(key="k"), who="anna", rate=1000)
    claimed = await jobs.claim(db, "a")
    assert claimed
    refused = {"ok": 0.0, "code": 10334, "$clusterTime": {"signature": {"keyId": 7}}}
    await jobs.set_aside(db, claimed, "a", OperationFailure("$it is too large", 10334, refused))
    assert (await jobs.find(db, claimed.id)).failure == "$it is too large"


@pytest.mark.parametrize("values", [{"not_before": None}, {"owner": "dead", "expires_at": None}])
async def test_a_clock_that_was_set_back_does_not_hold_a_job(db: Database, values: Document) -> None:
    job = await jobs.create(db, Selection(key="k"), who="anna", rate=1000)
    ahead = await server_time(db) + timedelta(hours=1)
    values = {name: value or ahead for name, value in values.items()}
    await db[JOBS].update_one({"_id": job.id}, {"$set": values})
    claimed = await jobs.claim(db, "a")
    assert claimed
    assert claimed.id == job.id


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time that one has failed, those that failed before are ready again: as when each fails slowly."""
    monkeypatch.setattr(claims, "MOMENT_SECONDS", 0.0)


async def always_failing(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, count: int
) -> tuple[list[ObjectId], list[ObjectId]]:
    """Jobs that MongoDB never carries out, and a list of each try of one."""
    messages = await shelf.put(State.PUBLISHED, count)
    made = [(await jobs.create(db, Selection(ids=(one,)), who="anna", rate=1000)).id for one in messages]
    tried: list[ObjectId] = []
    put_back = replay.put_back

    async def refused(database: Database, found: replay.Page, *, job: ObjectId, **options: Any) -> int:
        if job in made:
            tried.append(job)
            raise TOO_LARGE_NOW
        return await put_back(database, found, job=job, **options)

    monkeypatch.setattr(replay, "put_back", refused)
    return made, tried


async def one_pass(replays: Replays) -> None:
    with suppress(OperationFailure):
        await replays.run_once()


@pytest.mark.usefixtures("no_time")
async def test_however_slowly_the_older_ones_fail_a_later_one_has_its_turn(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, tried = await always_failing(db, shelf, monkeypatch, 3)
    [other] = await shelf.put(State.PUBLISHED)
    sound = await jobs.create(db, Selection(ids=(other,)), who="anna", rate=1000)
    replays = Replays(db, "a")
    for _ in range(len(failing) + 2):  # each of them once, and its only page, and its end
        await one_pass(replays)
    assert tried == failing
    assert (await jobs.find(db, sound.id)).phase is Phase.DONE


@pytest.mark.usefixtures("no_time")
async def test_those_that_failed_have_their_turn_one_after_the_other(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one of them that would go on well by now does not wait for those that never do."""
    failing, tried = await always_failing(db, shelf, monkeypatch, 3)
    replays = Replays(db, "a")
    for _ in range(3 * len(failing)):
        await one_pass(replays)
    assert tried == 3 * failing


async def test_who_waits_by_a_clock_that_was_set_back_or_by_what_others_wrote_comes_before_those_set_aside(
    db: Database,
) -> None:
    made = [await jobs.create(db, Selection(key="k"), who="anna", rate=1000) for _ in range(4)]
    now = await server_time(db)
    odd = [now - timedelta(seconds=1), now + timedelta(hours=1), "yesterday", datetime(1960, 1, 1, tzinfo=UTC)]
    for job, value in zip(made, odd, strict=True):
        await db[JOBS].update_one({"_id": job.id}, {"$set": {"not_before": value}})
    claimed = [await jobs.claim(db, f"owner-{n}") for n in range(len(made))]
    assert [job and job.id for job in claimed] == [made[n].id for n in (3, 1, 2, 0)]


@pytest.mark.parametrize("milliseconds", [-(2**62), 2**62])
async def test_a_time_that_no_program_can_read_stops_no_job(milliseconds: int, db: Database, shelf: Shelf) -> None:
    made = []
    for message in await shelf.put(State.PUBLISHED, 2):
        made.append((await jobs.create(db, Selection(ids=(message,)), who="anna", rate=1000)).id)
    await db[JOBS].update_one({"_id": made[0]}, {"$set": {"not_before": DatetimeMS(milliseconds)}})
    claimed = [await jobs.claim(db, f"owner-{n}") for n in range(2)]
    assert [job and job.id for job in claimed] == made

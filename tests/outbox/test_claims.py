"""Claims of jobs, and dead messages, are read a few at a time, however many there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId, encode
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

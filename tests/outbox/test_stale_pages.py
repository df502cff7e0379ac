"""Pages of a replay, when MongoDB shows less than what is committed. On a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from pymongo.write_concern import WriteConcern

from outbox.database import OUTBOX, Database
from outbox.embedded import Mongod
from outbox.message.document import State
from outbox.operations import jobs
from outbox.operations.job import Phase
from outbox.operations.selection import Selection
from outbox.servers.connections import NAME
from outbox.streams.declaration import FILE_STREAM
from tests.outbox.shelf import a_document
from tests.waiting import eventually


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod of this module's own, which can be kept from seeing that anything is committed."""
    parameters = ["--setParameter", "enableTestCommands=1"]
    with Mongod(tmp_path_factory.mktemp("mongod"), extra_args=parameters) as server:
        yield server


@pytest.fixture
def mongodb_uri(standing: Mongod) -> str:
    return standing.uri


@contextmanager
def seeing_no_commit(server: Mongod) -> Iterator[None]:
    """As a new primary, until it has learnt what a majority has."""
    with server.client() as client:
        client.admin.command("configureFailPoint", "disableSnapshotting", mode="alwaysOn")
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "disableSnapshotting", mode="off")
            client.test.others.insert_one({})  # with the next write, it sees that of all before


def something_waits(server: Mongod) -> bool:
    """Whether a statement has not been answered for a second, which it takes only when it waits for a majority."""
    ours = {"microsecs_running": {"$gt": 1_000_000}, "appName": NAME}
    with server.client() as client, client.admin.aggregate([{"$currentOp": {}}, {"$match": ours}]) as found:
        return any("find" in one["command"] or "commitTransaction" in one["command"] for one in found)


async def test_a_failover_during_a_step_does_not_stop_it(db: Database, standing: Mongod) -> None:
    """Its first read is answered by a primary that ends, and tried once more by the driver."""
    job = await jobs.create(db, Selection(stream=FILE_STREAM), who="anna", rate=1000)
    await db[OUTBOX].insert_one(a_document(State.PUBLISHED, at=job.before - timedelta(hours=1)))
    claimed = await jobs.claim(db, "a")
    assert claimed
    with standing.client() as client:
        ending = {"failCommands": ["find"], "errorCode": 11602, "appName": NAME}
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=ending)
        try:
            after = await jobs.step(db, claimed, "a")
        finally:
            told = client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert told["count"] >= 1
    assert after
    assert (after.phase, after.replayed) == (Phase.RUNNING, 1)


async def test_a_job_is_not_done_before_what_it_selects_can_be_seen(db: Database, standing: Mongod) -> None:
    job = await jobs.create(db, Selection(stream=FILE_STREAM), who="anna", rate=1000)
    claimed = await jobs.claim(db, "a")
    assert claimed
    with seeing_no_commit(standing):
        outbox = db[OUTBOX].with_options(write_concern=WriteConcern(1))
        await outbox.insert_one(a_document(State.PUBLISHED, at=job.before - timedelta(hours=1)))
        stepping = asyncio.create_task(jobs.step(db, claimed, "a"))
        await eventually(lambda: something_waits(standing), what="the job waits for what it cannot see, or write")
    after = await stepping
    assert after
    assert (after.phase, after.replayed) == (Phase.RUNNING, 1)

"""What each worker holds, and for how long, is on record for `outbox status` and the dashboard."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure
from structlog.testing import capture_logs

from outbox.database import WORKERS
from outbox.operations import stats, workers
from outbox.operations.workers import Worker
from outbox.servers.clock import server_time
from outbox.worker import presence
from tests.relay.world import STREAM
from tests.waiting import eventually
from tests.worker.waiting_handler import Waiting
from tests.worker.workshop import Workshop


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "EVERY_SECONDS", 0.1)
    for name in ("TIMEOUT_SECONDS", "LEAVE_SECONDS"):  # however slow the machine is
        monkeypatch.setattr(presence, name, 60.0)


async def test_what_a_worker_holds_is_shown_until_it_is_done_and_the_worker_until_it_stops(
    workshop: Workshop, waiting: Waiting
) -> None:
    database = workshop.world.database
    first, second = await workshop.publish("f1", "f2")
    await database.files.update_many({}, {"$set": {"parsing": "parsed"}})

    async def only() -> Worker:
        found = await workers.read(database)
        assert len(found) == 1
        return found[0]

    async with workshop.working(waiting, name="one", concurrency=3, handler_seconds=60):

        async def both() -> Worker | None:
            found = await only()
            return found if found.in_flight == 2 and not found.silent else None

        worker = await eventually(both)
        assert worker
        assert (worker.name, worker.concurrency) == ("outbox:one", 3)
        assert worker.streams == (STREAM.name,)
        assert {(held.message, held.key, held.attempt) for held in worker.holds} == {
            (first, "f1", 1),
            (second, "f2", 1),
        }
        assert all(held.limit_seconds == 60 and 0 <= held.seconds < 30 for held in worker.holds)

        async def held_for(seconds: float) -> bool:
            return (await only()).holds[-1].seconds > seconds

        await eventually(lambda: held_for(0.3))
        status = (await stats.collect(database, workshop.world.redis, workshop.world.streams)).as_json()
        assert status["workers"][0]["holds"][0]["key"] in ("f1", "f2")
        waiting.let_go.set()

        async def nothing() -> bool:
            return (await only()).in_flight == 0

        await eventually(nothing)
    assert await workers.read(database) == ()


async def a_record(workshop: Workshop, name: str, *messages: ObjectId, seen: float, since: float) -> None:
    now = await server_time(workshop.world.database)
    holds = [
        {
            "stream": STREAM.name, "entry": "1-1", "message": message, "attempt": 1, "limit_seconds": 60.0,
            "since": now - timedelta(seconds=since),
        }
        for message in messages
    ]  # fmt: skip
    await workshop.world.database[WORKERS].insert_one(
        {
            "_id": name, "host": "h", "pid": 7, "streams": [STREAM.name], "concurrency": 10, "every_seconds": 5.0,
            "started_at": now - timedelta(hours=1), "seen_at": now - timedelta(seconds=seen),
            "in_flight": len(holds), "holds": holds,
        }
    )  # fmt: skip


async def test_of_a_worker_that_fell_silent_only_what_is_lost_is_shown(workshop: Workshop) -> None:
    lost, taken_over, done = await workshop.publish("lost", "taken over", "done")
    await workshop.world.database.outbox.update_one({"_id": done}, {"$set": {"state": "completed"}})
    await a_record(workshop, "outbox:dead", lost, taken_over, done, seen=50, since=400)
    await a_record(workshop, "outbox:alive", taken_over, seen=1, since=10)
    await a_record(workshop, "outbox:gone", seen=100, since=0)
    dead, alive = await workers.read(workshop.world.database)
    assert (dead.name, alive.name) == ("outbox:dead", "outbox:alive")
    assert [held.key for held in dead.holds] == ["lost"]
    assert (dead.silent, dead.in_flight, dead.is_stuck, alive.is_stuck) == (True, 1, True, False)
    told = rf"has held message {lost} of stream 'file_parsing_queue' for (\d+) s, and has not been seen for (\d+) s"
    found = re.search(told, str(dead))
    assert found, str(dead)
    held, unseen = map(int, found.groups())
    assert 400 <= held < 500, "and as long as this test takes"
    assert held - unseen in (349, 350, 351), "each is rounded"


async def test_a_worker_that_holds_a_message_for_long_is_named(workshop: Workshop) -> None:
    (id_,) = await workshop.publish("f1")
    await a_record(workshop, "outbox:slow", id_, seen=1, since=40)
    (slow,) = await workers.read(workshop.world.database)
    assert (slow.silent, slow.is_stuck) == (False, True)


async def test_what_others_wrote_is_shown_all_the_same(workshop: Workshop) -> None:
    holds = [1, {"since": "then", "message": "no id", "limit_seconds": float("inf"), "attempt": float("nan")}]
    odd = {"_id": 7, "holds": holds, "seen_at": "now", "pid": "x", "streams": 3, "in_flight": float("inf")}
    await workshop.world.database[WORKERS].insert_one(odd)
    (worker,) = await workers.read(workshop.world.database)
    assert worker.as_json()["worker"] == "7"
    json.dumps(worker.as_json(), allow_nan=False)


async def test_a_worker_works_without_the_record(
    workshop: Workshop, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was set up by a version before; or the user has no right."""
    database = workshop.world.database
    await database[WORKERS].drop()
    waiting.let_go.set()
    (id_,) = await workshop.publish("f1")
    await database.files.update_many({}, {"$set": {"parsing": "parsed"}})
    async with workshop.working(waiting):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert WORKERS not in await database.list_collection_names()

    async def refused(_: object) -> None:
        raise OperationFailure("not authorized", 13)

    monkeypatch.setattr(presence.Presence, "record", refused)
    (id_,) = await workshop.publish("f2")
    await database.files.update_many({}, {"$set": {"parsing": "parsed"}})
    async with workshop.working(waiting):
        await eventually(lambda: workshop.in_state("completed", id_))


@pytest.mark.parametrize("elsewhere", ["on another machine", "on this machine", "nowhere", "no number", "no date"])
async def test_a_second_worker_of_the_same_name_leaves_the_first_one_what_it_holds(
    workshop: Workshop, waiting: Waiting, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas that were all given one `--consumer`. What a worker of this name held that runs no more is worked on."""
    records = workshop.world.database[WORKERS]
    calls: list[str] = []

    async def count(message: Any) -> None:
        calls.append(message.key)
        await waiting(message)

    async def held() -> bool:
        return bool(await records.find_one({"in_flight": 2}))

    await workshop.publish("f1", "f2")
    with capture_logs() as logs:
        async with workshop.working(count, name="one", concurrency=2) as first:
            await eventually(held)
            spared = asyncio.Event()

            async def not_now() -> None:  # it would say again that the first one is here
                spared.set()

            assert first.processing
            monkeypatch.setattr(first.processing.presence, "record", not_now)
            await eventually(spared.is_set, what="the record that was under way is there")
            monkeypatch.setattr(presence, "LATELY", 600)
            at: dict[str, Any] = {"on another machine": {"host": "elsewhere"}, "on this machine": {"pid": os.getppid()}}
            at |= {"no number": {"pid": 2**40}, "no date": {"host": "elsewhere", "seen_at": "x"}}  # others wrote it
            await records.update_one({}, {"$set": at.get(elsewhere, {"pid": _ended()})})
            async with workshop.working(count, name="one", concurrency=4):
                await workshop.publish("f3")  # for the second: the first one's hands are full
                await eventually(lambda: len(calls) == 3)
                waiting.let_go.set()
    assert sorted(calls[:2]) == ["f1", "f2"]
    assert (calls[2] == "f3") == elsewhere.startswith("on ")
    assert ("consumer name used twice" in [entry["event"] for entry in logs]) == elsewhere.startswith("on ")


def _ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid

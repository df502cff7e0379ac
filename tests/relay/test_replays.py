"""Replays as relays work on them: on real servers, killed in the middle, two at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from outbox.database import JOBS
from outbox.operations import jobs, replay
from outbox.operations.jobs import Phase
from outbox.operations.selection import Selection
from outbox_relay.replays import Replays
from outbox_relay.service import Next
from tests.relay.processes import a_relay
from tests.relay.world import STREAM, World
from tests.waiting import eventually

ALL = Selection(stream=STREAM.name)
STREAM_SETTING = {"name": STREAM.name, "group": STREAM.group, "partitions": 1, "subject": {}}
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def environment(mongodb_uri: str, database: str, redis_url: str) -> dict[str, str]:
    return {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url,
        "OUTBOX_RELAY_LEASE_SECONDS": "2",
        "OUTBOX_STREAMS": json.dumps([STREAM_SETTING]),
    }  # fmt: skip


async def published(world: World, count: int) -> None:
    await world.append(*(f"file-{n % 20}" for n in range(count)))
    owner = await world.owner()
    await owner.drain_all()
    await owner.leases.release([owner.lease])


async def attempts(world: World) -> Counter[tuple[str, ...]]:
    """How many messages are in the stream under which attempts."""
    found: dict[str, list[str]] = {}
    for entry in await world.entries():
        found.setdefault(entry["message_id"], []).append(entry["attempt"])
    return Counter(tuple(each) for each in found.values())


async def test_passes_work_on_one_job_after_the_other(world: World) -> None:
    await published(world, 3)
    first = await jobs.create(world.database, ALL, who="anna", rate=1000)
    second = await jobs.create(world.database, Selection(key="file-1"), who="anna", rate=1000)
    replays = Replays(world.database, "a")
    while (passed := await replays.run_once()).next is Next.AGAIN:
        pass
    assert passed.replayed == 0
    assert [(await jobs.find(world.database, job.id)).replayed for job in (first, second)] == [3, 0]  # still pending


async def test_after_an_error_it_goes_on_where_the_job_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await published(world, 10)
    job = await jobs.create(world.database, ALL, who="anna", rate=8)  # four a page
    replays = Replays(world.database, "a")
    await replays.run_once()
    with monkeypatch.context() as patch:
        patch.setattr(replay, "put_back", _failing)
        replays._pace.rate = 1_000_000
        replays._pace._next = 0
        with pytest.raises(AutoReconnect):
            await replays.run_once()
    assert (await replays.run_once()).replayed == 4
    assert (await jobs.find(world.database, job.id)).replayed == 8


async def _failing(*_: object, **__: object) -> int:
    raise AutoReconnect("gone")


async def test_a_slow_job_waits_in_short_naps(world: World) -> None:
    await published(world, 2)
    await jobs.create(world.database, ALL, who="anna", rate=1)
    replays = Replays(world.database, "a")
    assert (await replays.run_once()).replayed == 1
    replays._pace._next += 3600  # its turn does not come while the test stands still
    assert (await replays.run_once()).replayed == 0  # a nap, after which it can be told to stop


async def test_killed_in_the_middle_of_a_job(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    await published(world, 400)
    job = await jobs.create(world.database, ALL, who="anna", rate=20)
    with a_relay(tmp_path / "relay.log", environment) as relay:

        async def half_way() -> bool:
            return 40 <= (await jobs.find(world.database, job.id)).replayed < 400

        await eventually(half_way, 30, every=0.01)
        await asyncio.to_thread(relay.kill)
        # The rest as fast as can be: it was slow, so that there is time to kill it.
        await world.database[JOBS].update_one({"_id": job.id}, {"$set": {"expires_at": LONG_AGO, "rate": 1000}})
        relay.start()

        async def done() -> bool:
            return (await jobs.find(world.database, job.id)).phase is Phase.DONE

        await eventually(done, 30)

        async def all_entered() -> bool:
            return await attempts(world) == {("1", "2"): 400}

        await eventually(all_entered, 20, every=0.1)
    assert (await jobs.find(world.database, job.id)).replayed == 400


async def test_two_relays_share_the_jobs_and_a_stopped_one_gives_its_back(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    await published(world, 100)
    ids = [ObjectId(entry["message_id"]) for entry in await world.entries()]
    halves = [Selection(ids=tuple(ids[:50])), Selection(ids=tuple(ids[50:]))]
    with a_relay(tmp_path / "a.log", environment) as a, a_relay(tmp_path / "b.log", environment) as b:
        created = [await jobs.create(world.database, half, who="anna", rate=1) for half in halves]

        async def owners() -> set[str | None]:
            return {(await jobs.find(world.database, job.id)).owner for job in created}

        async def shared() -> bool:
            return None not in (both := await owners()) and len(both) == 2

        await eventually(shared, 40)
        assert await asyncio.to_thread(a.stop) == 0
        # Long before the half minute that a dead one's would take.
        await eventually(lambda: _has_none(world), 15, what="the job is given back")
        assert b.told("replay started")


async def _has_none(world: World) -> bool:
    return await world.database[JOBS].find_one({"open": True, "owner": None}) is not None

"""Wall clocks step, forward and back, once and often: nothing is lost, doubled or held up by that (G1, G3, G4, G5)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import WriteConcernError
from structlog.testing import capture_logs

from outbox import Outbox
from outbox.database import OUTBOX, PARTITIONS, Database
from outbox.draft import Draft
from outbox.embedded import Mongod, RedisServer
from outbox.message import schema
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES, Streams
from outbox_api.collections import FILES_APPLICATION
from tests.faults import evidence
from tests.faults.clocks import Clock, build
from tests.faults.history import Appended
from tests.faults.proxy import Proxy
from tests.faults.scenario import CHECKPOINTS, STREAM, Scenario
from tests.waiting import eventually, pass_by

HOUR = 3600
STEPS = {
    "forward": [10, 20, 30, 40, 50, 60, 70, 80, 90],
    "back": [-10, -20, -30, -40, -50, -60, -70, -80, -90],
    # MongoDB refuses all clients while its clock is more than a year behind the time of its latest write.
    "most of a year forward and back": [300 * 24 * HOUR, 0],
    "at random": [7, -3, HOUR, 1, -HOUR, 300, 2, -1, 86_400, 0],
}
STEPPING = pytest.mark.parametrize(
    "steps",
    [
        pytest.param(steps, id=name, marks=() if name == "at random" else pytest.mark.slow)
        for name, steps in STEPS.items()
    ],
)
"""CI takes those at random; the matrix takes all."""

MANY = 2000
SMALL = {"relay_batch_size": 50, "relay_lease_seconds": 2}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def mongo_clock(library: Path, tmp_path: Path) -> Clock:
    return Clock(library, tmp_path / "mongod-clock")


@pytest.fixture
def stepped_mongod(mongo_clock: Clock, tmp_path: Path) -> Iterator[Mongod]:
    """One for each test: what waits inside it until a moment that was set back may wait for as long."""
    server = Mongod(tmp_path / "mongod")
    server.env = mongo_clock.environment
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_clock(library: Path, tmp_path: Path) -> Clock:
    return Clock(library, tmp_path / "redis-clock")


@pytest.fixture
async def scenario(stepped_mongod: Mongod, redis_clock: Clock, tmp_path: Path) -> AsyncIterator[Scenario]:
    """A world whose two servers have clocks of their own."""
    database = "stepped"
    redis = RedisServer(tmp_path / "redis")
    redis.env = redis_clock.environment
    async with connect_mongo(load(OutboxSettings, mongodb_uri=stepped_mongod.uri)) as client:
        await schema.ensure(Database(client, database), Streams([FILES]), FILES_APPLICATION)
        with redis, capture_logs() as logs:
            to = (stepped_mongod.host, stepped_mongod.port), (redis.host, redis.port)
            async with Proxy(to[0]) as to_mongo, Proxy(to[1]) as to_redis:
                yield Scenario(client, database, redis, to_mongo, to_redis, tmp_path, logs)


async def append(scenario: Scenario, count: int, *, keys: int = 40) -> list[str]:
    """Many messages quickly, some hundred in a transaction; of one key they are in order."""
    outbox, ids = Outbox(Streams([FILES]), database=scenario.database.name), []
    names = [f"{keys}-{n % keys}" for n in range(count)]
    for start in range(0, count, 500):
        page = names[start : start + 500]

        appended: list[ObjectId] = []

        async def body(session: Any, page: Sequence[str] = page, appended: list[ObjectId] = appended) -> None:
            drafts = [Draft({"file_id": key, "filename": f"{key}.pdf"}, key=key) for key in page]
            appended[:] = await outbox.append_many(session, STREAM, drafts)

        async with scenario.client.start_session() as session:
            try:
                await session.with_transaction(body)
            except WriteConcernError:
                # A clock that steps by an hour makes each transaction too old, also one that has been committed and
                # waits for a majority.
                assert await scenario.database[OUTBOX].count_documents({"_id": {"$in": appended}}) == len(page)
        scenario.history.add(*(Appended(str(id_), key) for id_, key in zip(appended, page, strict=True)))
        ids += [str(id_) for id_ in appended]
    for key in set(names):
        await scenario.database.files.update_one({"_id": key}, {"$set": {"parsing": "queued"}}, upsert=True)
    return ids


async def drained(scenario: Scenario, seconds: float = 60) -> None:
    async def nothing_waits() -> bool:
        return not await scenario.database[OUTBOX].count_documents({"state": "pending"}, limit=1)

    async with evidence.shown(scenario.database, scenario.logs, scenario.folder):
        await eventually(nothing_waits, seconds, every=0.1)


@STEPPING
async def test_mongodbs_clock_steps_while_thousands_are_published(
    scenario: Scenario, mongo_clock: Clock, dice: random.Random, steps: list[int]
) -> None:
    await append(scenario, MANY)
    with scenario.relay_process(**SMALL):
        async with mongo_clock.stepping(steps, dice):
            await drained(scenario)
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


@STEPPING
async def test_mongodbs_clock_steps_while_two_relays_share_the_work(
    scenario: Scenario, mongo_clock: Clock, dice: random.Random, steps: list[int]
) -> None:
    """By a clock that steps forward everybody's leases have run out: they change owners in the middle of batches."""
    await append(scenario, MANY)
    with scenario.relay_process(**SMALL), scenario.relay_process(**SMALL):
        async with mongo_clock.stepping(steps, dice):
            await drained(scenario)
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(("FLUSHALL",), id="take back"),
        pytest.param(("DEL", *CHECKPOINTS), id="keep", marks=pytest.mark.slow),
    ],
)
async def test_mongodbs_clock_steps_during_a_recovery(
    scenario: Scenario, mongo_clock: Clock, dice: random.Random, lost: tuple[str, ...]
) -> None:
    await append(scenario, MANY)
    with scenario.relay_process(relay_batch_size=500):
        await drained(scenario)
        await scenario.comes_to_rest(30)
    if lost[0] == "FLUSHALL":
        await scenario.lose(*lost)
    else:
        await scenario.do(*lost)
    with scenario.relay_process(**SMALL):
        async with mongo_clock.stepping(STEPS["at random"], dice, pause=0.05):
            await append(scenario, 500, keys=7)
            await drained(scenario)
            await scenario.comes_to_rest(60)
    await scenario.stays_at_rest()


async def test_a_relay_is_put_to_sleep_across_a_takeover_and_clocks_step(
    scenario: Scenario, mongo_clock: Clock, dice: random.Random
) -> None:
    """It wakes up when its lease, by the clock that was set back, has not run out yet."""
    await append(scenario, MANY)
    async with mongo_clock.stepping([0, 10, -10, HOUR, 5], dice):
        with scenario.relay_process(**SMALL) as first, scenario.relay_process(**SMALL) as second:
            for relay in (first, second, first, second):
                await pass_by(dice.uniform(0.2, 1))
                relay.pause()
                await append(scenario, 200, keys=11)
                await pass_by(dice.uniform(0.5, 3))
                relay.resume()
            await drained(scenario)
            await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


async def test_an_owner_dies_right_after_the_clock_was_set_back_by_an_hour(
    scenario: Scenario, mongo_clock: Clock
) -> None:
    """By that clock its lease has an hour to go, and it counts in the fair share as long."""
    mongo_clock.set(HOUR)
    with scenario.relay_process(**SMALL) as dying, scenario.relay_process(**SMALL) as living:
        await eventually(lambda: dying.held and living.held, 20)
        mongo_clock.set(0)
        dying.kill()
        await append(scenario, 200)
        # A lease's time of silence, one look more, and the start of the drainers.
        await drained(scenario, 4 * SMALL["relay_lease_seconds"])
        await scenario.comes_to_rest()
        owners = await scenario.database[PARTITIONS].distinct("owner")
        assert len(owners) == 1


@STEPPING
async def test_rediss_clock_steps_while_thousands_are_published(
    scenario: Scenario, redis_clock: Clock, dice: random.Random, steps: list[int]
) -> None:
    """The ids of entries are times; they never go back, and a stream stays the one that it was."""
    await append(scenario, MANY)
    with scenario.relay_process(**SMALL):
        async with redis_clock.stepping(steps, dice):
            await drained(scenario)
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()

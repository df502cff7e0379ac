"""Whole relays as processes, on real servers: killed, paused, stopped, and with servers that go away."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import OUTBOX, PARTITIONS, Document
from outbox.embedded import Mongod, RedisServer
from outbox.errors import SchemaError
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream, Subject
from outbox_relay.backlog import Backlog
from outbox_relay.busy import Busy
from outbox_relay.daemon import Relay
from outbox_relay.settings import RelaySettings
from outbox_relay.wakeup import Sweep, Swept
from tests.faults.relays import in_this_process
from tests.relay.processes import RelayProcess, a_relay
from tests.relay.test_backlogs import a_message
from tests.relay.test_start_and_stop import Program
from tests.relay.world import STREAM, World, a_world
from tests.waiting import PATIENCE, eventually
from tests.worker.processes import running

FOUR = Stream(STREAM.name, STREAM.group, partitions=4, subject=Subject())
PATIENT_IN_COUNTING = (
    "from outbox_relay import outage; outage.COUNT_SECONDS = 60;"
    "from outbox.cli.program import main; main(['relay', '--port', '0'])"
)


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis, [FOUR]) as made:
        yield made


@pytest.fixture
def environment(mongodb_uri: str, database: str, redis_url: str) -> dict[str, str]:
    return {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url,
        "OUTBOX_RELAY_LEASE_SECONDS": "2",
    }  # fmt: skip


async def append_many(world: World, count: int, *, keys: int = 50, writers: int = 8) -> dict[str, list[str]]:
    """`count` messages, each in a transaction; returns the ids of each key in the order of their commits."""
    committed: defaultdict[str, list[str]] = defaultdict(list)
    left = iter(range(count))

    async def writer(number: int) -> None:
        # Each key has one writer, so that the order in which its appends return is that of their commits.
        mine = [f"key-{n}" for n in range(keys) if n % writers == number]
        for n in left:
            key = mine[n % len(mine)]
            [id_] = await world.append(key)
            committed[key].append(str(id_))

    await asyncio.gather(*(writer(number) for number in range(writers)))
    return committed


async def everything_published(world: World, count: int, seconds: float = 30) -> None:
    async def none_pending() -> bool:
        return await world.database[OUTBOX].count_documents({"state": "published"}) == count

    await eventually(none_pending, seconds, every=0.1, what=f"{count} messages published")


async def once_each_and_in_order(world: World, committed: dict[str, list[str]]) -> None:
    in_stream: defaultdict[str, list[str]] = defaultdict(list)
    for entry in await world.entries():
        in_stream[entry["file_id"]].append(entry["message_id"])
    assert in_stream == committed


@pytest.mark.slow
async def test_killed_ten_times_while_messages_are_appended(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    dice = random.Random(20261123)
    with a_relay(tmp_path / "relay.log", environment) as relay:
        appending = asyncio.create_task(append_many(world, 5000))
        for _ in range(10):
            await asyncio.to_thread(time.sleep, dice.uniform(0.3, 1.5))
            await asyncio.to_thread(relay.kill)
            relay.start()
        committed = await appending
        await everything_published(world, 5000)
    await once_each_and_in_order(world, committed)


@pytest.mark.slow
async def test_a_relay_paused_past_its_lease_notices_and_repeats_nothing(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    with a_relay(tmp_path / "a.log", environment) as a, a_relay(tmp_path / "b.log", environment) as b:
        await eventually(lambda: _held(a) == _held(b) == 2, 15, what="both hold their share")
        appending = asyncio.create_task(append_many(world, 3000))
        await eventually(lambda: world.redis.xlen(STREAM.name), 15)
        a.signal(signal.SIGSTOP)
        await eventually(lambda: _held(b) == 4, 15, what="the other one takes over")
        a.signal(signal.SIGCONT)
        await eventually(lambda: _lost(a), 15, what="the paused one notices")
        committed = await appending
        await everything_published(world, 3000)
    await once_each_and_in_order(world, committed)


async def test_a_clean_stop_hands_over_at_once(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    environment |= {"OUTBOX_RELAY_LEASE_SECONDS": "30"}
    with a_relay(tmp_path / "a.log", environment) as a:
        a.started()
        with a_relay(tmp_path / "b.log", environment) as b:
            await eventually(lambda: _held(b) == 2, 15)
            assert await asyncio.to_thread(a.stop) == 0
            owners = [one["owner"] or "" async for one in world.database[PARTITIONS].find()]
            assert not [owner for owner in owners if f"-{a.pid}-" in owner], "none waits for its lease to run out"
            await eventually(lambda: _held(b) == 4, what="hand-over")


async def test_redis_killed_with_a_thousand_waiting(
    world: World, environment: dict[str, str], redis_server: RedisServer, tmp_path: Path
) -> None:
    relay = Program(tmp_path / "relay.log", environment, PATIENT_IN_COUNTING)
    with running(relay):
        before = await append_many(world, 100)
        await everything_published(world, 100)
        redis_server.kill()
        during = await append_many(world, 1000)
        await eventually(lambda: relay.told("redis unavailable"), 15)
        redis_server.start()
        await everything_published(world, 1100, 10)
        await eventually(lambda: relay.told("redis available again"), 5)
    [back] = [line for line in _logs(relay) if line["event"] == "redis available again"]
    assert back["messages_waited"] == 1000
    assert len([line for line in _logs(relay) if line["event"].startswith("redis unavailable")]) == 1
    await once_each_and_in_order(world, {key: before.get(key, []) + during.get(key, []) for key in {*before, *during}})


async def test_starts_before_its_servers_and_waits_for_them(tmp_path: Path) -> None:
    mongod, redis_server = Mongod(tmp_path / "mongod"), RedisServer(tmp_path / "redis")
    with mongod, redis_server:
        environment = {"MONGODB_URI": mongod.uri, "MONGODB_DATABASE": "outbox", "REDIS_URL": redis_server.url}
        from outbox.servers.connections import connect_mongo, connect_redis
        from outbox.settings import OutboxSettings, load

        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_server.url)
        async with connect_mongo(settings) as client, connect_redis(settings) as redis:
            async with a_world(client, "outbox", redis, [FOUR]) as world:
                await world.append("f1")
                mongod.stop()
                redis_server.stop()
                with a_relay(tmp_path / "relay.log", environment) as relay:
                    await eventually(lambda: relay.told("mongodb unavailable"), 30)
                    mongod.start()
                    await eventually(lambda: relay.told("redis unavailable"), 30)
                    redis_server.start()
                    await eventually(lambda: redis.xlen(STREAM.name), 20)


async def test_hints_come_again_after_partitions_were_given_up_in_a_backlog(
    world: World, mongodb_uri: str, redis_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their new owner drains the rest of it, and nobody would say here that it is over."""
    made: list[Busy] = []

    class Remembered(Busy):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr("outbox_relay.daemon.Busy", Remembered)
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, redis_url=redis_url, mongodb_database=database)
    await world.database[OUTBOX].insert_many([a_message(FOUR, number) for number in range(4000)], ordered=False)
    async with in_this_process(settings, relay_batch_size=1) as first:
        await eventually(lambda: made and made[0].begun.is_set(), what="a backlog")
        async with in_this_process(settings, relay_batch_size=1):
            await eventually(lambda: first._leaser and first._leaser.held == 2, 20, what="two are given up")
            assert await world.database[OUTBOX].count_documents({"state": "pending"}) > 1000
            await world.database[OUTBOX].delete_many({"state": "pending"})
            await eventually(made[0].over.is_set, what="the backlog is over")


async def test_once_drains_and_exits(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    await world.append("f1", "f2", "f3")
    with a_relay(tmp_path / "relay.log", environment, "--once") as relay:
        assert await asyncio.to_thread(relay.wait) == 0
    assert len(await world.entries()) == 3


async def test_a_second_signal_leaves_at_once(
    world: World, environment: dict[str, str], mongod: Mongod, tmp_path: Path
) -> None:
    environment |= {"OUTBOX_RELAY_STOP_SECONDS": "120"}  # after which it would leave by itself
    with a_relay(tmp_path / "relay.log", environment) as relay:
        relay.started()
        mongod.pause()  # so that nothing in hand can be finished
        try:
            relay.signal(signal.SIGTERM)
            await eventually(lambda: relay.told("relay stopping"), 10)
            relay.signal(signal.SIGTERM)
            assert await asyncio.to_thread(relay.wait, 10 * PATIENCE) == 1
        finally:
            mongod.resume()


async def test_a_database_that_is_not_set_up_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    with a_relay(tmp_path / "relay.log", environment) as relay:
        assert await asyncio.to_thread(relay.wait) == 1
    assert relay.told("outbox init")


async def test_what_is_appended_is_published_within_moments(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= {"OUTBOX_RELAY_POLL_SECONDS": "60"}  # by the change stream alone
    with a_relay(tmp_path / "relay.log", environment) as relay:
        relay.started()
        await world.append("f1")
        await eventually(lambda: world.redis.xlen(STREAM.name), 5)


def _logs(relay: RelayProcess) -> list[Document]:
    written, _, _ = relay.text().rpartition("\n")  # the last line may be on its way
    return [json.loads(line) for line in written.splitlines() if line.startswith("{")]


def _held(relay: RelayProcess) -> int:
    """By its latest word."""
    return next((int(line["held"]) for line in reversed(_logs(relay)) if "held" in line), 0)


def _lost(relay: RelayProcess) -> bool:
    return any(line.get("lost") for line in _logs(relay))


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the relay sweeps, in a pass that loses its cancellation.

    As in the driver on Python 3.11, when it comes at the very moment of an answer: the pass goes on, and returns.
    """
    looking = asyncio.Event()

    async def deaf_at_first(_: Sweep) -> Swept:
        with suppress(asyncio.CancelledError) if not looking.is_set() else nullcontext():
            looking.set()
            await asyncio.Event().wait()
        return Swept(False)

    monkeypatch.setattr(Sweep, "run_once", deaf_at_first)
    return looking


async def test_it_stops_though_a_cancellation_gets_lost(
    world: World, mongodb_uri: str, redis_url: str, database: str, sweeping: asyncio.Event
) -> None:
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, redis_url=redis_url, mongodb_database=database)
    async with in_this_process(settings):
        await sweeping.wait()


async def test_it_ends_by_what_is_raised_on_purpose_though_a_cancellation_gets_lost(
    world: World,
    mongodb_uri: str,
    redis_url: str,
    database: str,
    sweeping: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def defective(_: Backlog) -> None:
        await sweeping.wait()
        raise SchemaError("the database is gone")

    monkeypatch.setattr(Backlog, "run_once", defective)
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, redis_url=redis_url, mongodb_database=database)
    with socket.create_server(("127.0.0.1", 0)) as listen:
        relay = Relay(load(RelaySettings), settings, listen=listen)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(20):
                await relay.run()
    assert caught.group_contains(SchemaError, match="the database is gone")

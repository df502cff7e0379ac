"""OUTBOX_RELAY_CONFIRM: a batch counts as published when a disk, or a replica, has it as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from outbox.database import Document
from outbox.embedded import RedisServer
from outbox.protocol import confirmation
from outbox.protocol.checkpoint import Checkpoints
from outbox.protocol.confirmation import CannotConfirm, Confirm, Unconfirmed
from outbox.protocol.leases import Progress
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from tests.faults.elsewhere import Elsewhere, elsewhere
from tests.faults.relays import as_a_process
from tests.faults.topologies import QUICK
from tests.relay.world import World, a_world
from tests.waiting import PATIENCE, eventually, eventually_sync


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("primary"), options=QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def replica(primary: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    options = {**QUICK, "replicaof": f"{primary.host} {primary.port}"}
    with RedisServer(tmp_path_factory.mktemp("replica"), options=options) as server:
        yield server


@pytest.fixture
def with_replica(primary: RedisServer, replica: RedisServer) -> Iterator[RedisServer]:
    """The primary, empty, with a replica that follows it."""
    with primary.client() as client:
        client.flushall()
        eventually_sync(lambda: client.wait(1, 100) == 1, what="the replica follows")
    yield primary
    replica.resume()


@contextmanager
def silent(replica: RedisServer) -> Iterator[None]:
    """Nothing can be confirmed meanwhile, and is not waited for long: only so, as it may take a moment otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        replica.pause()
        patch.setattr(confirmation, "CONFIRM_SECONDS", 0.3)
        try:
            yield
        finally:
            replica.resume()


@pytest.fixture
async def scenario(
    with_replica: RedisServer, mongodb_uri: str, database: str, tmp_path: Path
) -> AsyncIterator[Elsewhere]:
    settings = {"mongodb_uri": mongodb_uri, "mongodb_database": database, "redis_url": with_replica.url}
    async with elsewhere(tmp_path, **settings) as made:
        yield made


def connect(server: RedisServer) -> Redis:
    return cast(Redis, connect_redis(load(OutboxSettings, redis_url=server.url)))


async def test_a_wait_on_another_connection_proves_nothing(with_replica: RedisServer, replica: RedisServer) -> None:
    async with connect(with_replica) as one, connect(with_replica) as other:
        recent = await has_waitaof(with_replica)
        replica.pause()
        await one.set("written", "by one")
        # Redis 7.0 makes any connection wait for what any other had written by its last command.
        assert await other.wait(1, 100) == (1 if recent else 0)
        assert await one.wait(1, 100) == 0


async def test_what_no_replica_has_is_not_marked_until_one_has_it(scenario: Elsewhere, replica: RedisServer) -> None:
    async with scenario.relay(relay_confirm="replica"):
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        with silent(replica):
            await scenario.append_many(10)
            await eventually(lambda: scenario.told("redis unavailable", "warning"))
            assert [name for name, count in (await states(scenario)).items() if count] == ["published", "pending"]
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_batch_that_is_found_is_confirmed_before_it_is_marked(
    mongo: AsyncMongoClient[Document], database: str, with_replica: RedisServer, replica: RedisServer
) -> None:
    async with connect(with_replica) as redis, a_world(mongo, database, redis) as world:
        confirmed(world)
        first = await world.owner("first")
        await first.drain()
        with silent(replica):
            [message] = await world.append("f1")
            with pytest.raises(Unconfirmed):
                await first.drain()
            assert len(await world.entries()) == 1
            # On a connection that has written nothing, as this owner's after a lost reply, or the next one's.
            await redis.connection_pool.disconnect()
            with pytest.raises(Unconfirmed):
                await first.drain()
            following = await world.owner("next")  # not before: from here on the first has lost the lease
            await redis.connection_pool.disconnect()
            with pytest.raises(Unconfirmed):
                await following.drain()
            assert await world.states() == {message: "pending"}
        await (await world.owner("last")).drain()
        assert await world.states() == {message: "published"}
        assert len(await world.entries()) == 1


async def test_a_batch_sent_twice_is_confirmed_the_second_time(
    mongo: AsyncMongoClient[Document], database: str, with_replica: RedisServer, replica: RedisServer
) -> None:
    async with connect(with_replica) as redis, a_world(mongo, database, redis) as world:
        confirmed(world)
        owner = await world.owner()
        await owner.drain()
        await world.append("f1")
        async with mongo.start_session() as session:
            fetched = await world.store.fetch(owner.lease.partition, session, limit=10, max_bytes=1000)
        before = await world.progress()
        batch = owner.lease.partition, owner.lease.token, Progress(before.batch + 1, "tag"), fetched.messages
        with silent(replica):
            for _ in range(2):
                with pytest.raises(Unconfirmed):
                    await world.checkpoints.publish(*batch, after=before.tag)
                await redis.connection_pool.disconnect()
        answer = await world.checkpoints.publish(*batch, after=before.tag)
        assert getattr(answer, "repeated", False)
        assert len(await world.entries()) == 1


async def test_an_idle_owner_waits_for_nothing(
    mongo: AsyncMongoClient[Document], database: str, with_replica: RedisServer, replica: RedisServer
) -> None:
    async with connect(with_replica) as redis, a_world(mongo, database, redis) as world:
        confirmed(world)
        owner = await world.owner(relay_verify_seconds=0.001)
        await owner.drain()
        with silent(replica):
            for _ in range(5):
                await owner.drain()  # Unconfirmed, if it waited


async def test_without_confirmation_nothing_is_waited_for(scenario: Elsewhere, with_replica: RedisServer) -> None:
    with with_replica.client() as client:
        client.config_resetstat()
        async with scenario.relay():
            await scenario.append_many(20)
            await scenario.comes_to_rest()
        asked: Document = client.info("commandstats")
    assert not [name for name in asked if "wait" in name]


async def test_a_batch_counts_when_it_is_on_the_disk(
    scenario: Elsewhere, with_replica: RedisServer, record_property: Callable[[str, object], None]
) -> None:
    """On Redis 7.0, which has no WAITAOF, the relay refuses to start and says so."""
    if not await has_waitaof(with_replica):
        record_property("lacks", "WAITAOF (since 7.2): refused at the start")
        with as_a_process(scenario.folder / "relay.log", environment(scenario), relay_confirm="aof") as relay:
            assert await asyncio.to_thread(relay.wait, 20 * PATIENCE) == 2
            assert "OUTBOX_RELAY_CONFIRM=aof: this needs WAITAOF" in relay.output()
        return
    with with_replica.client() as client:
        client.config_set("appendfsync", "always")
        client.config_resetstat()
        async with scenario.relay(relay_confirm="aof"):
            await scenario.append_many(20)
            await scenario.comes_to_rest()
        asked: Document = client.info("commandstats")
        client.config_set("appendfsync", "everysec")
    assert asked["cmdstat_waitaof"]["calls"] >= 4  # one for each partition that was opened
    await scenario.stays_at_rest()


async def test_a_server_without_append_only_file_is_refused_at_the_start(
    mongodb_uri: str, database: str, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "forgetful", options={"appendonly": "no"}) as server:
        settings = {"mongodb_uri": mongodb_uri, "mongodb_database": database, "redis_url": server.url}
        async with elsewhere(tmp_path, **settings) as scenario:
            with as_a_process(tmp_path / "relay.log", environment(scenario), relay_confirm="aof") as relay:
                assert await asyncio.to_thread(relay.wait, 20 * PATIENCE) == 2
            assert "OUTBOX_RELAY_CONFIRM=aof" in relay.output()
            assert "appendonly yes" in relay.output()
            async with connect(server) as redis:
                with pytest.raises(CannotConfirm):
                    await Confirm.AOF.run(redis, "key", ("SET", "key", "value"))


async def test_a_relay_that_starts_before_redis_is_told_later(mongodb_uri: str, database: str, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "forgetful", options={"appendonly": "no"})
    with server:
        server.stop()
        settings = {"mongodb_uri": mongodb_uri, "mongodb_database": database, "redis_url": server.url}
        async with elsewhere(tmp_path, **settings) as scenario, scenario.relay(relay_confirm="aof"):
            [message] = await scenario.append("f1")
            await eventually(lambda: scenario.told("redis unavailable", "warning"))
            server.start()
            await eventually(lambda: scenario.told("redis unavailable", "error"), 15)
            assert (await states(scenario))["pending"] == 1, message


def confirmed(world: World) -> None:
    world.checkpoints = Checkpoints(world.redis, world.streams, world.ours, Confirm.REPLICA)


def environment(scenario: Elsewhere) -> dict[str, str]:
    settings = scenario.settings
    return {
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(),
        "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": settings.redis_dsn,
    }


async def states(scenario: Elsewhere) -> dict[str, int]:
    found = scenario.database.outbox
    return {state: await found.count_documents({"state": state}) for state in ("published", "pending", "dead")}


async def has_waitaof(server: RedisServer) -> bool:
    async with connect(server) as redis:
        try:
            await redis.waitaof(0, 0, 1)
        except ResponseError:
            return False
    return True

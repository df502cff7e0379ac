"""A Redis that is another one than before: replicas promoted by hand, late or too early, and primaries that return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from outbox.embedded import RedisServer
from tests.faults.proxy import Proxy
from tests.faults.scenario import Scenario
from tests.faults.test_redis_forgets import NOTICED, something_is_published
from tests.waiting import eventually


@pytest.fixture
def replica(scenario: Scenario) -> Iterator[RedisServer]:
    with scenario.another_redis(repl_diskless_sync_delay="0") as server:
        yield server


@asynccontextmanager
async def replication(scenario: Scenario, replica: RedisServer) -> AsyncIterator[Proxy]:
    """`replica` follows the scenario's Redis, over a network that can be cut."""
    async with Proxy((scenario.redis.host, scenario.redis.port)) as between:
        await scenario.do("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        await scenario.do("REPLICAOF", "127.0.0.1", between.port, server=replica)
        await caught_up(scenario, replica)
        yield between


async def caught_up(scenario: Scenario, replica: RedisServer) -> None:
    async def same() -> bool:
        async with scenario.at_redis() as one, scenario.at_redis(replica) as other:
            there, here = await one.info("replication"), await other.info("replication")
            return bool(here["master_link_status"] == "up" and there["master_repl_offset"] == here["slave_repl_offset"])

    await eventually(same, 20, what="the replica has caught up")


async def promote(scenario: Scenario, replica: RedisServer) -> None:
    await scenario.do("REPLICAOF", "NO", "ONE", server=replica)
    await scenario.fail_over(replica)


async def test_a_replica_that_has_all_is_promoted(scenario: Scenario, replica: RedisServer) -> None:
    async with replication(scenario, replica), scenario.relay():
        await something_is_published(scenario)
        await caught_up(scenario, replica)
        scenario.redis.kill()
        await promote(scenario, replica)
        await scenario.append("later-1", "later-2")
        await scenario.comes_to_rest()
        assert not scenario.told("redis data loss recovered")
    await scenario.stays_at_rest()


async def test_a_stale_replica_is_promoted(scenario: Scenario, replica: RedisServer) -> None:
    async with replication(scenario, replica) as network, scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        await caught_up(scenario, replica)
        network.silent = True
        await something_is_published(scenario)
        async with scenario.loss():
            scenario.redis.kill()
            await promote(scenario, replica)
        assert len(await scenario.stream()) >= 20
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_an_empty_replica_is_promoted(scenario: Scenario, replica: RedisServer) -> None:
    async with scenario.relay():
        await something_is_published(scenario)
        async with scenario.loss():
            await promote(scenario, replica)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_split_brain_the_old_primary_took_writes_that_are_gone(scenario: Scenario, replica: RedisServer) -> None:
    async with replication(scenario, replica), scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        await caught_up(scenario, replica)
        await scenario.do("REPLICAOF", "NO", "ONE", server=replica)  # promoted, and relays do not know yet
        await something_is_published(scenario)
        async with scenario.loss():
            await scenario.fail_over(replica)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_split_brain_under_load(scenario: Scenario, replica: RedisServer) -> None:
    async with replication(scenario, replica), scenario.relay():
        async with scenario.appending():
            await eventually(lambda: scenario.longer_than(20))
            await scenario.do("REPLICAOF", "NO", "ONE", server=replica)
            length = len(await scenario.stream())
            await eventually(lambda: scenario.longer_than(length + 20))
            async with scenario.loss():
                await scenario.fail_over(replica)
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_split_brain_and_the_old_primary_returns(scenario: Scenario, replica: RedisServer) -> None:
    """With entries that the new history has lost, and published again; without what the new history has added."""
    old = scenario.redis
    async with replication(scenario, replica), scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        await caught_up(scenario, replica)
        await scenario.do("REPLICAOF", "NO", "ONE", server=replica)
        await something_is_published(scenario)
        async with scenario.loss():
            await scenario.fail_over(replica)
        await scenario.comes_to_rest(NOTICED)
        await scenario.append("later-1", "later-2", "later-1")
        await scenario.comes_to_rest()
        async with scenario.loss():
            await scenario.fail_over(old)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_the_old_primary_returns_in_the_middle_of_the_recovery(scenario: Scenario, replica: RedisServer) -> None:
    old = scenario.redis
    async with scenario.relay(relay_batch_size=2):
        await something_is_published(scenario)
        async with scenario.loss():
            await promote(scenario, replica)
        await eventually(lambda: scenario.longer_than(5))
        async with scenario.loss():
            await scenario.fail_over(old)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()

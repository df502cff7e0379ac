"""Bad networks between a relay and its servers: nothing is lost, and no reply that is lost makes a duplicate (G4)."""

from __future__ import annotations

import random

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.database import OUTBOX
from outbox.servers.connections import connect_redis
from tests.faults.history import Lost
from tests.faults.proxy import Proxy, Way
from tests.faults.scenario import STREAM, Scenario
from tests.slow import mostly
from tests.waiting import eventually, stays

PUBLISH = b'"message_id"'
OPEN = b"file_parsers"
MARK = b"published_at"
HOLD_LEASE = b"intent"  # of one partition, or of several together
PATIENCE = 0.5
"""Seconds until a command to Redis counts as lost; in production it is five."""


@pytest.fixture(params=mostly(["redis", "mongodb"], but=["mongodb"]))
def network(scenario: Scenario, request: pytest.FixtureRequest) -> Proxy:
    return scenario.to_redis if request.param == "redis" else scenario.to_mongo


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("request_to_redis", [PUBLISH, OPEN], ids=["publish", "open"])
async def test_replies_of_redis_are_lost(scenario: Scenario, request_to_redis: bytes, times: int) -> None:
    async with scenario.relay():
        await scenario.append_many(10)
        rule = scenario.to_redis.rule(Way.LOSE_THE_REPLY, request_to_redis, times=times)
        await scenario.append_many(10)
        await eventually(lambda: rule.picked == times)
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_no_client_of_redis_sends_a_command_again_by_itself(scenario: Scenario) -> None:
    """redis-py does, ten times, unless it is told not to: each would add an entry (G4)."""
    scenario.to_redis.rule(Way.LOSE_THE_REPLY, b"by hand", times=1)
    async with connect_redis(scenario.settings) as redis:
        with pytest.raises(RedisConnectionError):
            await redis.xadd(STREAM, {"file_id": "by hand"})
    assert await scenario.length() == 1
    await scenario.do("DEL", STREAM)


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize(
    "request_to_mongo",
    mostly([MARK, HOLD_LEASE, b"aggregate"], but=[MARK]),
    ids=["mark", "lease", "look around"],
)
async def test_replies_of_mongodb_are_lost(scenario: Scenario, request_to_mongo: bytes, times: int) -> None:
    """The driver sends a write once more by itself: then the first reply that is lost is not noticed by anybody."""
    async with scenario.relay():
        await scenario.append_many(10)
        rule = scenario.to_mongo.rule(Way.LOSE_THE_REPLY, request_to_mongo, times=times)
        await scenario.append_many(10)
        await eventually(lambda: rule.picked == times)
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


@pytest.mark.timeout(300)
async def test_connections_are_reset_at_random(scenario: Scenario, network: Proxy, dice: random.Random) -> None:
    async with scenario.relay(relay_batch_size=5):
        async with scenario.appending(keys=4):
            for _ in range(15):
                length = await scenario.length()
                enough = length + dice.randrange(10)
                await eventually(lambda enough=enough: scenario.longer_than(enough))  # type: ignore[misc]
                network.reset()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_the_network_is_cut_and_healed(scenario: Scenario, network: Proxy) -> None:
    async with scenario.relay():
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        network.cut()
        await scenario.append_many(10)
        await eventually(lambda: scenario.told("unavailable"))
        await stays(lambda: scenario.shorter_than(11), 0.5)
        network.heal()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_the_network_is_half_open(scenario: Scenario, network: Proxy) -> None:
    """Connections stay open, and nothing comes through, for longer than the leases last."""
    async with scenario.relay(redis_patience=PATIENCE):
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        network.silent = True
        await scenario.append_many(10)
        await stays(lambda: scenario.shorter_than(11), 3)
        network.heal()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_another_relay_takes_over_from_one_that_mongodb_cannot_hear(scenario: Scenario) -> None:
    async with scenario.relay():
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        isolated, scenario.to_mongo = scenario.to_mongo, Proxy(scenario.to_mongo.target)
        isolated.silent = True
        async with scenario.to_mongo, scenario.relay():
            await scenario.append_many(20)
            await scenario.comes_to_rest()
            isolated.heal()
            await scenario.append_many(20)
            await scenario.comes_to_rest()
        scenario.to_mongo = isolated
    await scenario.stays_at_rest()


async def test_replies_come_byte_by_byte(scenario: Scenario, network: Proxy) -> None:
    network.bytewise = True
    async with scenario.relay():
        await scenario.append_many(40)
        await scenario.comes_to_rest()
    network.heal()
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_redis_answers_two_seconds_late(scenario: Scenario) -> None:
    """Everything takes longer, and nothing else changes."""
    async with scenario.relay(relay_lease_seconds=10):
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        scenario.to_redis.latency = 2
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        scenario.to_redis.heal()
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_mongodb_answers_two_seconds_late(scenario: Scenario) -> None:
    """Every request, and publishing takes several: leases must last longer than by default."""
    async with scenario.relay(relay_lease_seconds=60):
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        scenario.to_mongo.latency = 2
        await scenario.append_many(10)
        await scenario.comes_to_rest(60)
        scenario.to_mongo.heal()
    await scenario.stays_at_rest()


async def test_mongodb_answers_too_late_for_the_leases(scenario: Scenario) -> None:
    """Nothing is published twice meanwhile, and afterwards everything goes on."""
    async with scenario.relay():
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        scenario.to_mongo.latency = 1
        await scenario.append_many(10)
        await eventually(lambda: scenario.told("lease renewal too slow"))
        scenario.to_mongo.heal()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


# -- requests that are carried out after their sender gave them up


async def test_a_publish_arrives_when_its_messages_have_been_published_again(scenario: Scenario) -> None:
    async with scenario.relay(redis_patience=PATIENCE):
        rule = scenario.to_redis.rule(Way.HOLD, PUBLISH)
        await scenario.append("a", "b", "a", "c")
        await eventually(lambda: rule.picked)
        await scenario.comes_to_rest()
        scenario.to_redis.release()
        await scenario.append("a", "b", "c")
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_publish_arrives_before_its_sender_looks_again(scenario: Scenario) -> None:
    async with scenario.relay(redis_patience=PATIENCE):
        await scenario.append("a", "a")
        await scenario.comes_to_rest()
        rule = scenario.to_redis.rule(Way.HOLD, PUBLISH)
        await scenario.append("a")
        await eventually(lambda: rule.picked)
        scenario.to_redis.refusing = True
        await eventually(lambda: scenario.told("redis unavailable"))
        scenario.to_redis.release()
        await eventually(lambda: scenario.longer_than(2))
        scenario.to_redis.heal()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_publish_arrives_between_the_next_look_and_the_next_publish(scenario: Scenario) -> None:
    """The second publish is on its way already when the first one arrives, under the same number."""
    async with scenario.relay(redis_patience=PATIENCE):
        await scenario.append("a", "a")
        await scenario.comes_to_rest()
        rule = scenario.to_redis.rule(Way.HOLD, PUBLISH, times=2)
        await scenario.append("a")
        await eventually(lambda: rule.picked == 2)
        scenario.to_redis.release()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_publish_arrives_after_another_owner_has_taken_over(scenario: Scenario) -> None:
    async with scenario.relay(redis_patience=PATIENCE):
        await scenario.append("a", "a")
        await scenario.comes_to_rest()
        rule = scenario.to_redis.rule(Way.HOLD, PUBLISH)
        await scenario.append("a")
        await eventually(lambda: rule.picked)
        scenario.to_redis.refusing = True
    scenario.to_redis.refusing = False
    async with scenario.relay():
        await scenario.comes_to_rest()
        scenario.to_redis.release()
        await scenario.append("a")
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_the_first_publish_of_all_arrives_after_redis_has_lost_everything(scenario: Scenario) -> None:
    async with scenario.relay(redis_patience=PATIENCE):
        rule = scenario.to_redis.rule(Way.HOLD, PUBLISH)
        await scenario.append("a")
        await eventually(lambda: rule.picked)
        await scenario.comes_to_rest()
        await scenario.lose("FLUSHALL")
        scenario.to_redis.release()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_mark_arrives_after_its_message_was_lost(scenario: Scenario) -> None:
    """Marked now, the message would never come again."""
    async with scenario.relay(redis_patience=PATIENCE):
        rule = scenario.to_mongo.rule(Way.HOLD, MARK)
        await scenario.append("a")
        await eventually(lambda: rule.picked)
        scenario.to_redis.cut()
        await scenario.do("FLUSHALL")
        scenario.history.add(Lost())
        scenario.to_mongo.release()
        scenario.to_redis.heal()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_mark_arrives_after_a_replay(scenario: Scenario) -> None:
    async with scenario.relay():
        rule = scenario.to_mongo.rule(Way.HOLD, MARK)
        [message] = await scenario.append("a")
        await eventually(lambda: rule.picked)
        await scenario.comes_to_rest()  # marked by another request
        await scenario.replay(message)
        scenario.to_mongo.release()
        await scenario.comes_to_rest()
    assert [m["attempts"] async for m in scenario.database[OUTBOX].find()] == [2]
    await scenario.stays_at_rest()


async def test_requests_are_held_at_random(scenario: Scenario, network: Proxy, dice: random.Random) -> None:
    """They arrive when others have been carried out that were sent later."""
    async with scenario.relay(redis_patience=PATIENCE, relay_batch_size=3):
        async with scenario.appending(keys=4):
            for _ in range(4):
                rule = network.rule(Way.HOLD, dice.choice([PUBLISH, OPEN] if network is scenario.to_redis else [MARK]))
                await eventually(lambda rule=rule: rule.picked)  # type: ignore[misc]
                length = await scenario.length()
                enough = length + dice.randrange(4)
                await eventually(lambda enough=enough: scenario.longer_than(enough))  # type: ignore[misc]
                network.release()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_change_stream_falls_silent_and_the_sweep_finds_everything(scenario: Scenario) -> None:
    async with scenario.relay():
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        rule = scenario.to_mongo.rule(Way.HOLD, b"getMore", times=10**6)
        await scenario.append_many(1)  # the server answers the request that it has, and the next one is held
        await eventually(lambda: rule.picked)  # from now on, no hint comes
        await scenario.append_many(30)
        await scenario.comes_to_rest()
        scenario.to_mongo.heal()
        scenario.to_mongo.release()
    await scenario.stays_at_rest()

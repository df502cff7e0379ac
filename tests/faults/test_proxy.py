"""The bad network itself: each kind does to a request what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from outbox.embedded import RedisServer
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from tests.faults.proxy import Proxy, Way
from tests.waiting import eventually


@pytest.fixture
async def proxy(redis_server: RedisServer, redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(("127.0.0.1", redis_server.port)) as made:
        yield made


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Redis]:
    """With a short patience, and through the proxy."""
    settings = load(OutboxSettings, redis_url=f"redis://{proxy.address}/0")
    async with connect_redis(settings, timeout_seconds=0.5) as made:
        assert isinstance(made, Redis)
        yield made


async def test_forwards(client: Redis) -> None:
    assert await client.incr("n") == 1


async def test_large_replies_come_byte_by_byte(proxy: Proxy, client: Redis) -> None:
    await client.set("large", "x" * 5000)
    proxy.bytewise = True
    assert await client.get("large") == "x" * 5000


async def test_a_lost_reply_means_that_the_request_was_carried_out(proxy: Proxy, client: Redis, redis: Redis) -> None:
    rule = proxy.rule(Way.LOSE_THE_REPLY, b"incr")
    with pytest.raises(RedisConnectionError):
        await client.incr("n")
    assert rule.picked == 1
    assert await redis.get("n") == "1"
    assert await client.incr("n") == 2


async def test_a_held_request_is_carried_out_after_its_sender_gave_up(
    proxy: Proxy, client: Redis, redis: Redis
) -> None:
    proxy.rule(Way.HOLD, b"incr")
    with pytest.raises(RedisTimeoutError):
        await client.incr("n")
    assert await redis.get("n") is None
    proxy.release()
    await eventually(lambda: redis.get("n"))


async def test_a_held_reply_comes_when_it_is_let_go(proxy: Proxy, client: Redis, redis: Redis) -> None:
    proxy.rule(Way.HOLD_THE_REPLY, b"incr")
    with pytest.raises(RedisTimeoutError):
        await client.incr("n")
    assert await redis.get("n") == "1"
    proxy.release()
    assert await client.incr("n") == 2


async def test_an_answer_in_the_servers_place(proxy: Proxy, client: Redis, redis: Redis) -> None:
    proxy.rule(Way.ANSWER, b"incr", answer=b"-LOADING Redis is loading the dataset in memory\r\n")
    with pytest.raises(BusyLoadingError):
        await client.incr("n")
    assert await redis.get("n") is None


async def test_late_replies_are_waited_for_up_to_the_time_out(proxy: Proxy, client: Redis) -> None:
    proxy.latency = 0.1
    assert await client.incr("n") == 1
    proxy.latency = 1
    with pytest.raises(RedisTimeoutError):
        await client.incr("n")


async def test_half_open(proxy: Proxy, client: Redis, redis: Redis) -> None:
    await client.ping()
    proxy.silent = True
    with pytest.raises(RedisTimeoutError):
        await client.incr("n")
    assert await redis.get("n") is None
    proxy.heal()
    assert await client.incr("n") == 1


async def test_cut_and_healed(proxy: Proxy, client: Redis) -> None:
    await client.ping()
    proxy.cut()
    with pytest.raises(RedisConnectionError):
        await client.ping()
    with pytest.raises(RedisConnectionError):
        await client.ping()
    proxy.heal()
    assert await client.ping()

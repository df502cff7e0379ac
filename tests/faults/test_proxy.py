"""The bad network itself: each kind does to a request what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError

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
    """Through the proxy. It gives up when it is told to: by itself, it might before its request is on its way."""
    settings = load(OutboxSettings, redis_url=f"redis://{proxy.address}/0")
    async with connect_redis(settings, timeout_seconds=60) as made:
        assert isinstance(made, Redis)
        yield made


async def ask(client: Redis) -> int:
    return int(await client.incr("n"))


async def carried_out(redis: Redis, value: str) -> bool:
    return bool(await redis.get("n") == value)


async def gives_up(asking: asyncio.Task[int]) -> None:
    assert not asking.done()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


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
    asking = asyncio.create_task(ask(client))
    await eventually(lambda: proxy.held)
    await gives_up(asking)
    assert await redis.get("n") is None
    proxy.release()
    await eventually(lambda: redis.get("n"))


async def test_a_held_reply_comes_when_it_is_let_go(proxy: Proxy, client: Redis, redis: Redis) -> None:
    proxy.rule(Way.HOLD_THE_REPLY, b"incr")
    asking = asyncio.create_task(ask(client))
    await eventually(lambda: proxy.held)
    assert not asking.done()
    assert await redis.get("n") == "1"
    proxy.release()
    assert await asking == 1
    assert await client.incr("n") == 2


async def test_an_answer_in_the_servers_place(proxy: Proxy, client: Redis, redis: Redis) -> None:
    proxy.rule(Way.ANSWER, b"incr", answer=b"-LOADING Redis is loading the dataset in memory\r\n")
    with pytest.raises(BusyLoadingError):
        await client.incr("n")
    assert await redis.get("n") is None


async def test_replies_come_late(proxy: Proxy, client: Redis, redis: Redis) -> None:
    proxy.latency = 0.1
    began = time.monotonic()
    assert await client.incr("n") == 1
    assert time.monotonic() - began >= 0.1
    proxy.latency = 3600
    asking = asyncio.create_task(ask(client))
    await eventually(lambda: carried_out(redis, "2"))
    await gives_up(asking)


async def test_half_open(proxy: Proxy, client: Redis, redis: Redis) -> None:
    await client.ping()
    proxy.silent = True
    rule = proxy.rule(Way.HOLD, b"incr")  # which tells when the request has come
    asking = asyncio.create_task(ask(client))
    await eventually(lambda: rule.picked)
    await gives_up(asking)
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

"""The explorer's listener: it notices what is gone before it was given it, and knows nothing of what Redis has lost."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from outbox.embedded import RedisServer
from tests.faults.explorer.listener import GROUP, Listener

KEY = "work"


class Heard:
    """A listener at a stream of ten entries."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.listener = Listener(KEY)

    async def do(self, *command: Any) -> Any:
        async with Redis(host=self.server.host, port=self.server.port, decode_responses=True) as redis:
            return await redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def add(self, count: int) -> list[str]:
        return [await self.do("XADD", KEY, "*", "a", "b") for _ in range(count)]

    async def read(self, count: int) -> int | None:
        return await self.listener.read(self.do, count)


@pytest.fixture
async def heard(tmp_path: Path) -> AsyncIterator[Heard]:
    with RedisServer(tmp_path / "redis") as server:
        one = Heard(server)
        await one.add(10)
        yield one


async def test_it_is_given_all_there_is_and_goes(heard: Heard, dice: random.Random) -> None:
    assert [await heard.read(4), await heard.read(100)] == [4, 6]
    await heard.listener.acknowledge(heard.do, dice)
    assert await heard.listener.set_back(heard.do, 0) == 10
    await heard.add(3)
    await heard.listener.ends(heard.do)
    assert await heard.do("XINFO", "GROUPS", KEY) == []


async def test_it_misses_what_it_was_to_be_given(heard: Heard) -> None:
    await heard.read(1)
    await heard.listener.set_back(heard.do, 0.5)
    ids = [id_ for id_, _ in await heard.do("XRANGE", KEY, "-", "+")]
    await heard.do("XDEL", KEY, ids[7])
    with pytest.raises(AssertionError, match=f"was to be given: .*{ids[7]}"):
        await heard.read(5)


async def test_it_misses_what_it_holds(heard: Heard) -> None:
    await heard.read(3)
    await heard.do("XTRIM", KEY, "MAXLEN", 8)
    with pytest.raises(AssertionError, match="holds"):
        await heard.read(1)


async def test_it_does_not_miss_what_others_have_removed_or_redis_has_lost(heard: Heard) -> None:
    await heard.read(3)
    ids = [id_ for id_, _ in await heard.do("XRANGE", KEY, "-", "+")]
    await heard.do("XDEL", KEY, ids[0], ids[4])
    heard.listener.removed([ids[0], ids[4]])
    assert await heard.read(3) == 3
    await heard.do("DEL", KEY)
    assert await heard.read(3) is None
    await heard.add(2)
    assert await heard.read(3) == 2
    await heard.do("XGROUP", "DESTROY", KEY, GROUP)
    assert await heard.listener.set_back(heard.do, 0) is None
    assert await heard.read(3) == 2

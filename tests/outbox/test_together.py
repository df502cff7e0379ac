"""Requests that are made at about the same time go to a server together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from outbox.servers.together import Together


class Server:
    """Doubles numbers, when it is let."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.answering = asyncio.Event()

    async def double(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append([*numbers])
        await self.answering.wait()
        if 13 in numbers:
            raise ValueError("13")
        return [2 * number for number in numbers]


async def test_what_is_asked_at_once_goes_at_once_and_what_is_asked_meanwhile_next() -> None:
    server = Server()
    together = Together(server.double)
    first = [asyncio.create_task(together.ask(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    then = [asyncio.create_task(together.ask(number)) for number in (4, 5)]
    await asyncio.sleep(0)
    assert server.calls == [[1, 2, 3]]
    server.answering.set()
    assert await asyncio.gather(*first, *then) == [2, 4, 6, 8, 10]
    assert server.calls == [[1, 2, 3], [4, 5]]


async def test_no_more_than_the_most_at_once() -> None:
    server = Server()
    server.answering.set()
    together = Together(server.double, most=2)
    assert await asyncio.gather(*map(together.ask, (1, 2, 3))) == [2, 4, 6]
    assert server.calls == [[1, 2], [3]]


async def test_an_error_is_for_all_who_asked_together_and_for_nobody_else() -> None:
    server = Server()
    server.answering.set()
    together = Together(server.double, most=2)
    found = await asyncio.gather(*map(together.ask, (1, 13, 3)), return_exceptions=True)
    assert [type(one) for one in found] == [ValueError, ValueError, int]
    assert await together.ask(4) == 8


async def test_who_is_cancelled_takes_nobody_along() -> None:
    server = Server()
    together = Together(server.double)
    one, other = asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    one.cancel()
    server.answering.set()
    assert await other == 4
    with pytest.raises(asyncio.CancelledError):
        await one

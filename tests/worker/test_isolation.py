"""Turns and slots: who waits for whom in one process."""

from __future__ import annotations

import asyncio

import pytest

from outbox.worker.hand import Hand
from outbox.worker.isolation import Isolation


async def test_a_suspect_that_is_abandoned_while_it_rests_waits_for_nobody_and_takes_no_slot() -> None:
    isolation = Isolation(1)
    suspect, other = Hand(suspect="dead"), Hand()
    async with isolation.turn(suspect):
        assert await isolation.take_slot(suspect)
        resting = asyncio.create_task(isolation.rest(suspect, 60))
        await asyncio.sleep(0)
        async with isolation.turn(other):
            assert await isolation.take_slot(other)
            suspect.abandon()
            await asyncio.wait_for(resting, 5)
            isolation.release_slot(suspect)  # it has none
            assert not await isolation.take_slot(Hand(), 0.01)
            isolation.release_slot(other)
    assert await isolation.take_slot(Hand(), 0.01)
    assert not await isolation.take_slot(Hand(), 0.01)


@pytest.mark.parametrize("rests", [0, 3])
async def test_after_a_rest_a_suspect_has_its_turn_and_its_slot(rests: int) -> None:
    isolation = Isolation(2)
    suspect = Hand(suspect="dead")
    async with isolation.turn(suspect):
        assert await isolation.take_slot(suspect)
        for _ in range(rests):
            await isolation.rest(suspect, 0)
        isolation.release_slot(suspect)
    hands = [Hand() for _ in range(3)]
    assert [await isolation.take_slot(hand, 0.01) for hand in hands] == [True, True, False]


async def test_a_suspect_that_is_cancelled_while_it_rests_waits_for_nobody() -> None:
    isolation = Isolation(1)
    suspect, other = Hand(suspect="dead"), Hand()

    async def handled() -> None:
        async with isolation.turn(suspect):
            assert await isolation.take_slot(suspect)
            try:
                await isolation.rest(suspect, 60)
            finally:
                isolation.release_slot(suspect)  # it has none

    resting = asyncio.create_task(handled())
    await asyncio.sleep(0.01)
    async with isolation.turn(other):
        assert await isolation.take_slot(other)
        resting.cancel()
        await asyncio.wait({resting}, timeout=5)
        assert resting.cancelled()
        isolation.release_slot(other)
    async with asyncio.timeout(5), isolation.turn(Hand(suspect="dead")):
        assert await isolation.take_slot(Hand(), 0.01)
    assert not await isolation.take_slot(Hand(), 0.01)

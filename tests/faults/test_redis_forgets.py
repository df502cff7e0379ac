"""Redis that forgets: noticed within seconds without traffic, and recovered without a human (G5)."""

from __future__ import annotations

from tests.faults.scenario import STREAM, Scenario

NOTICED = 5
"""Seconds within which a loss is noticed and repaired without traffic."""


async def test_everything_is_flushed(scenario: Scenario) -> None:
    async with scenario.relay():
        await scenario.append_many(40)
        await scenario.comes_to_rest()
        await scenario.settle("key-1", "key-2")
        await scenario.lose("FLUSHALL")
        await scenario.comes_to_rest(NOTICED)
        assert scenario.told("redis has lost data", "error")
    await scenario.stays_at_rest()


async def test_the_stream_is_deleted(scenario: Scenario) -> None:
    async with scenario.relay():
        await scenario.append_many(40)
        await scenario.comes_to_rest()
        await scenario.settle("key-1", "key-2")
        await scenario.lose("DEL", STREAM)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()

"""Relays that are killed, or sleep for longer than their leases, at each point of a pass; clocks that are wrong."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.fragile import POINTS
from tests.faults.relays import RelayProcess
from tests.faults.scenario import CHECKPOINTS, Scenario
from tests.slow import mostly
from tests.waiting import eventually

FRAGILE = "tests.faults.fragile"
HOUR = 3600
LONG = 20
BATCH = 4
"""So that a partition has several batches, and some of them hold first and second attempts."""

WORST = {"before publish", "after the lease moved, before mark", "half-way through a mark"}
"""To fall asleep at: what comes next would do harm, if it were carried out after another relay has taken over."""


async def work_is_waiting(scenario: Scenario, loses: str) -> None:
    """Some is published already, some is to be published again, some is new; and Redis has forgotten, if it `loses`."""
    async with scenario.relay():
        first = await scenario.append_many(20)
        await scenario.comes_to_rest()
    await scenario.replay(*first[:10])
    await scenario.append_many(20)
    if loses == "all":
        await scenario.lose("FLUSHALL")
    elif loses == "checkpoints":
        async with scenario.loss():
            await scenario.do("DEL", *CHECKPOINTS)


KILLED = {
    "after send, before the reply",
    "half-way through a mark",
    "during recovery: a page taken back",
    "during recovery: before its end in mongodb",
}


@pytest.mark.parametrize("point", mostly(POINTS, but=KILLED))
async def test_a_relay_is_killed(scenario: Scenario, point: str) -> None:
    await work_is_waiting(scenario, POINTS[point].loses)
    with scenario.relay_process(FRAGILE, point, "SIGKILL", relay_batch_size=BATCH) as relay:
        await eventually(lambda: not relay.running, 30, what="it has killed itself")
        assert relay.returncode == -signal.SIGKILL, relay.output(last_lines=20)
    async with scenario.relay():
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


@pytest.mark.parametrize("point", mostly(POINTS, but=WORST))
async def test_a_relay_sleeps_until_another_one_has_taken_over(scenario: Scenario, point: str) -> None:
    await work_is_waiting(scenario, POINTS[point].loses)
    with scenario.relay_process(FRAGILE, point, "SIGSTOP", relay_batch_size=BATCH) as sleeper:
        await eventually(lambda: asleep(sleeper), 30, what="it has fallen asleep")
        async with scenario.relay():
            await scenario.comes_to_rest(20)
            sleeper.resume()
            await scenario.append_many(20)
            await scenario.comes_to_rest()
            assert sleeper.running, sleeper.output(last_lines=20)
    await scenario.stays_at_rest()


async def test_clocks_of_relays_are_an_hour_off_in_either_direction(scenario: Scenario) -> None:
    """Leases rest on the server's time, and on clocks that nobody can set."""
    with scenario.relay_process(FRAGILE, "clock", str(HOUR)) as early:
        await eventually(lambda: early.held == 4, 30, what="the early one holds all")
        with scenario.relay_process(FRAGILE, "clock", str(-HOUR)) as late:
            await eventually(lambda: (early.held, late.held) == (2, 2), 30, what="each holds its share")
            async with scenario.appending(keys=4):
                await eventually(lambda: scenario.longer_than(30), 20)
                early.pause()
                await eventually(lambda: late.held == 4, 30, what="the late one has taken over")
                early.resume()
                await eventually(lambda: (early.held, late.held) == (2, 2), 30, what="they share again")
                late.kill()
                await eventually(lambda: early.held == 4, 30, what="the early one has taken over")
            await scenario.comes_to_rest()
            assert early.running, early.output(last_lines=20)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_a_clock_that_is_ahead_takes_over_nothing_too_early(scenario: Scenario) -> None:
    """A relay an hour ahead of the server would find every lease of the others expired.

    It waits until its share is given back. Leases are too long to run out by the server's clock on a slow machine.
    """
    async with scenario.relay(relay_lease_seconds=LONG):
        before = await scenario.owners()
        with scenario.relay_process(FRAGILE, "clock", str(HOUR), relay_lease_seconds=LONG) as early:
            await eventually(lambda: early.held == 2, 2 * LONG, what="it holds its share")
            owners = await scenario.owners()
            assert sum(owners[partition] != owner for partition, owner in before.items()) == 2
            assert scenario.told("partitions reassigned")
            assert not scenario.lost_leases()
    await scenario.append_many(10)
    async with scenario.relay():
        await scenario.comes_to_rest(2 * LONG)  # the early one was killed, and its leases last so long
    await scenario.stays_at_rest()


def asleep(process: RelayProcess) -> bool:
    """Whether it is stopped by a signal. Ends the waiting when it has died instead."""
    if not process.running:
        raise RuntimeError(process.output(last_lines=20))
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"

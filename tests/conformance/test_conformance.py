"""What the model does, the product does: traces carried out on real servers, and the states compared.

A few of them; `python -m tests.conformance` carries out all short ones, and long ones for as long as it is given.
"""

from __future__ import annotations

import pytest

from outbox.message import transitions
from outbox.protocol.leases import Progress
from outbox_relay.drainer import Drainer
from tests.conformance.carry import Drift, Trace, carry, without_delays
from tests.conformance.traces import ALL, Walk, along, every
from tests.model.rules import Bounds
from tests.relay.world import World


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without_delays(monkeypatch.setattr)


@pytest.mark.parametrize(("bounds", "depth"), ALL[1:3])
async def test_every_short_trace(world: World, bounds: Bounds, depth: int) -> None:
    for trace in every(bounds, depth):
        await carry(world, trace, bounds)


TAIL = Bounds(keys=(0,), early=0, tail=True, troubles=1)
SHOWN = along(
    TAIL,
    *("acquire", *["step"] * 6, "append", "shown", *["step"] * 2, "give up", *["step"] * 2, "late", *["step"] * 3),
)
"""A relay publishes what it was shown, and gives up the mark, which arrives when the next token has fenced it."""
TWICE = Bounds(keys=(0, 0), acquires=2, losses=1, page=9)
TOKEN_LOST = along(
    TWICE,
    *("acquire", *["step"] * 10, "copy of redis", "token 2 is killed; acquire", *["step"] * 4),
    *("redis goes back", "verify", "append", *["step"] * 4),
)
"""Redis forgets no more than a token; its owner sees that the last batch is there, and goes on."""


@pytest.mark.parametrize(("bounds", "trace"), [(TAIL, SHOWN), (TWICE, TOKEN_LOST)], ids=["shown", "token lost"])
async def test_a_chosen_trace(world: World, bounds: Bounds, trace: Trace) -> None:
    await carry(world, trace, bounds)


async def test_a_late_mark_that_heeds_no_fence_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "passable", lambda token: {})
    with pytest.raises(Drift, match="arrives late"):
        await carry(world, SHOWN, TAIL)


async def test_an_owner_that_takes_a_lost_token_for_a_loss_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    still_there = Drainer._still_there

    async def still_there_or_not(drainer: Drainer, progress: Progress) -> bool:
        await still_there(drainer, progress)
        return False

    monkeypatch.setattr(Drainer, "_still_there", still_there_or_not)
    with pytest.raises(Drift, match="verifies its checkpoint"):
        await carry(world, TOKEN_LOST, TWICE)


async def test_long_traces(world: World) -> None:
    walk = Walk(seed=1)
    for _ in range(6):
        bounds, trace = walk.trace()
        await carry(world, trace, bounds)
    assert walk.kinds > 40

"""What the model does, the product does: traces carried out on real servers, and the states compared.

A few of them; `python -m tests.conformance` carries out all short ones, and long ones for as long as it is given.
"""

from __future__ import annotations

import pytest

from tests.conformance.carry import carry, without_delays
from tests.conformance.traces import ALL, Walk, every
from tests.model.rules import Bounds
from tests.relay.world import World


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without_delays(monkeypatch.setattr)


@pytest.mark.parametrize(("bounds", "depth"), ALL[1:3])
async def test_every_short_trace(world: World, bounds: Bounds, depth: int) -> None:
    for trace in every(bounds, depth):
        await carry(world, trace, bounds)


async def test_long_traces(world: World) -> None:
    walk = Walk(seed=1)
    for _ in range(6):
        bounds, trace = walk.trace()
        await carry(world, trace, bounds)
    assert walk.kinds > 40

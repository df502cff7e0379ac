"""What chance may choose from, by who or what does it or suffers it."""

from __future__ import annotations

import random

from tests.faults.explorer.actions import (
    clocks,
    documents,
    groups,
    leases,
    mongodb,
    networks,
    operators,
    others,
    people,
    quiet,
    redis,
    relays,
    streams,
    topology,
    workers,
)
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World

action = Actions()


@action(5, fault=False)
async def rest(world: World, dice: random.Random) -> str:
    await world.comes_to_rest()
    world.goes_on()
    return f"{len(await world.stream())} entries"


WITHOUT_WORKERS = [
    *people.action, *relays.action, *networks.action, *redis.action, *mongodb.action, *clocks.action, *topology.action,
    *action, *leases.action,
]  # fmt: skip
OF_WORKERS = [
    *workers.action, *operators.action, *others.action, *streams.action, *groups.action, *documents.action,
    *quiet.action,
]  # fmt: skip
ACTIONS = [*WITHOUT_WORKERS, *OF_WORKERS]
"""Their order is a part of what a seed means."""
NOT_BEYOND_ONE_SERVER = [*networks.action, *redis.action]
"""Of a Redis that is more than one server, nobody stands in the way, and none forgets."""

"""What chance may choose from, by who or what does it or suffers it."""

from __future__ import annotations

import random

from tests.faults.explorer.actions import mongodb, networks, operators, others, people, redis, relays, workers
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World

action = Actions()


@action(5, fault=False)
async def rest(world: World, dice: random.Random) -> str:
    await world.comes_to_rest()
    world.goes_on()
    return f"{len(await world.stream())} entries"


WITHOUT_WORKERS = [*people.action, *relays.action, *networks.action, *redis.action, *mongodb.action, *action]
ACTIONS = [*WITHOUT_WORKERS, *workers.action, *operators.action, *others.action]
"""Their order is a part of what a seed means."""

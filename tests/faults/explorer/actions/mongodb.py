"""What happens to MongoDB."""

from __future__ import annotations

import asyncio
import random

from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.faults.history import Forgotten
from tests.waiting import pass_by

action = Actions()


@action(2)
async def step_down_mongodb(world: World, dice: random.Random) -> str:
    await asyncio.to_thread(world.members.step_down)
    await world.accepted()
    return ""


@action(2)
async def kill_mongodb(world: World, dice: random.Random) -> str:
    await asyncio.to_thread(world.members.crash)
    world.history.add(Forgotten())
    await world.accepted()
    return ""


@action(2)
async def halt_mongodb(world: World, dice: random.Random) -> str:
    """For longer than a replica set waits before it elects another primary."""
    seconds = dice.uniform(0.1, 2)
    primary = await asyncio.to_thread(world.members.primary)
    primary.pause()
    await pass_by(seconds)
    primary.resume()
    world.history.add(Forgotten())
    await world.accepted()
    return f"for {seconds:.1f} s"

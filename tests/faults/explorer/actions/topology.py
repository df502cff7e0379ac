"""What happens to a Redis that is more than one server. What is marked is confirmed by a replica: nothing is lost."""

from __future__ import annotations

import asyncio
import random

from redis.crc import key_slot

from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.faults.scenario import STREAM
from tests.faults.sentinels import Watched
from tests.faults.topologies import ThreePrimaries, role
from tests.waiting import pass_by

action = Actions()


@action(8)
async def fail_over_to_the_replica(world: World, dice: random.Random) -> str | None:
    """For a while there are two primaries; or the old one is dead."""
    if not isinstance(world.topology, Watched):
        return None
    old, how = world.redis, dice.choice(["by hand", "killed"])
    if how == "by hand":
        world.redis = await asyncio.to_thread(world.topology.fail_over)
        await pass_by(dice.uniform(0, 2))
    else:
        await asyncio.to_thread(world.topology.replica)  # which is there
        world.topology.kill(old)
        world.redis = await asyncio.to_thread(world.topology.primary)
    await asyncio.to_thread(world.topology.follow, old)
    return how


@action(8)
async def move_the_slot(world: World, dice: random.Random) -> str | None:
    """To a primary that is there, or that clients have never heard of."""
    if not isinstance(world.topology, ThreePrimaries):
        return None
    primaries = [node for node in world.topology.nodes if node.running and role(node) == "master"]
    others = [node for node in primaries if node is not world.redis]
    if len(world.topology.nodes) < 5 and dice.random() < 0.3:
        target = await asyncio.to_thread(world.topology.join)
    else:
        target = dice.choice(others)
    await asyncio.to_thread(world.topology.migrate, key_slot(STREAM.encode()), target)
    world.redis = target
    return f"to {target.name}"

"""What happens to relays."""

from __future__ import annotations

import asyncio
import random

from tests.faults.explorer.actions.action import Actions, goes_on
from tests.faults.explorer.world import World
from tests.faults.relays import RelayProcess

action = Actions()


@action(5)
async def kill_a_relay(world: World, dice: random.Random) -> str | None:
    relay = dice.choice(world.relays)
    if relay in world.down:
        return None
    world.down.add(relay)
    relay.kill()
    world.asleep.discard(relay)
    return relay.name


@action(3)
async def stop_a_relay(world: World, dice: random.Random) -> str | None:
    relay = dice.choice(world.relays)
    if relay in world.down | world.asleep:
        return None
    world.down.add(relay)
    code = await asyncio.to_thread(relay.stop, 10)
    return f"{relay.name}, which ends with {code}"


@action(12, fault=False)
async def start_a_relay(world: World, dice: random.Random) -> str | None:
    return goes_on(world.relays, world.down, RelayProcess.start)


@action(4)
async def put_a_relay_to_sleep(world: World, dice: random.Random) -> str | None:
    relay = dice.choice(world.relays)
    if relay in world.down | world.asleep:
        return None
    relay.pause()
    world.asleep.add(relay)
    return relay.name


@action(6, fault=False)
async def wake_a_relay(world: World, dice: random.Random) -> str | None:
    return goes_on(world.relays, world.asleep, RelayProcess.resume)

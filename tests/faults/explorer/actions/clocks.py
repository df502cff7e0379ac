"""What happens to the clocks of servers."""

from __future__ import annotations

import random

from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.behind import SECONDS
from tests.faults.explorer.world import World
from tests.faults.history import Forgotten

action = Actions()

STEPS = [1, 5, 60, 3600, -1, -3, -10]
"""Seconds. Back by little: what is due at a moment of a server's clock comes as much later."""


@action(6)
async def step_a_clock(world: World, dice: random.Random) -> str | None:
    """It stays so."""
    if not world.members.clocks:
        return None
    server, farthest = dice.choice(sorted(world.members.clocks)), world.members.farthest
    clock, seconds = world.members.clocks[server], dice.choice(STEPS)
    if abs(clock.seconds + seconds) > farthest:
        return None
    clock.set(clock.seconds + seconds)
    if seconds > 0:
        world.history.add(Forgotten())
    return f"of {server}: {seconds:+} s, and {clock.seconds:+} s in all"


@action(4)
async def set_a_clock_far_back_and_kill_a_relay(world: World, dice: random.Random) -> str | None:
    """As when a host is lost, and another takes its place whose clock is wrong: until everything comes to rest."""
    relay = dice.choice(world.relays)
    if not world.members.clocks or world.members.farthest < 2 * SECONDS or relay in world.down:
        return None
    server = dice.choice(sorted(world.members.clocks))
    world.behind.set_back(world.members.clocks[server])
    world.history.add(Forgotten())  # when it is put right
    world.down.add(relay)
    relay.kill()
    world.asleep.discard(relay)
    return f"of {server}, and {relay.name}"

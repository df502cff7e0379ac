"""Breadth-first search of all worlds that can be reached, so that the first counterexample is a shortest one."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from .environment import Action, beginning, successors
from .promises import Judge
from .rules import Bounds, Rules
from .world import World, compact


@dataclass(frozen=True)
class Found:
    """How many worlds were reached, in how many seconds; what was broken, and the way there. None: nothing."""

    worlds: int
    seconds: float
    broken: str | None = None
    trace: tuple[tuple[Action | None, World], ...] = ()


def search(rules: Rules, bounds: Bounds, *, limit: int = 10_000_000) -> Found:
    """Explore every world within the bounds, until one breaks a promise. Raises OverflowError past `limit` worlds."""
    started = time.monotonic()
    judge = Judge(rules, bounds)
    first = beginning(bounds, rules)
    parents: dict[World, tuple[Action, World] | None] = {first: None}
    layer = [first]
    # Millions of tuples that never form a cycle: the collector would only walk them again and again.
    gc.disable()
    try:
        while layer:
            following = []
            for world in layer:
                if broken := judge.judge(world):
                    return Found(len(parents), time.monotonic() - started, broken, _trace(parents, world))
                for action, following_world in successors(world, rules, bounds):
                    after = compact(following_world)
                    if after not in parents:
                        parents[after] = (action, world)
                        following.append(after)
            if len(parents) > limit:
                raise OverflowError(f"more than {limit} worlds: narrow the bounds")
            layer = following
    finally:
        gc.enable()
    return Found(len(parents), time.monotonic() - started)


def _trace(parents: dict[World, tuple[Action, World] | None], world: World) -> tuple[tuple[Action | None, World], ...]:
    steps: list[tuple[Action | None, World]] = []
    while came := parents[world]:
        steps.append((came[0], world))
        world = came[1]
    steps.append((None, world))
    return tuple(reversed(steps))

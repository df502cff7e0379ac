"""Traces of the model: all of them within small bounds, and random long ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterator

from tests.conformance.carry import Trace
from tests.model.environment import Action, beginning, successors
from tests.model.rules import Bounds, Rules
from tests.model.world import World

ALL: tuple[tuple[Bounds, int], ...] = (
    (Bounds(keys=(0, 0)), 40),
    (Bounds(keys=(0, 0), tail=True), 40),
    (Bounds(settles=1), 40),
    (Bounds(replays=1), 40),
    (Bounds(troubles=1), 16),
    (Bounds(acquires=2), 40),
    (Bounds(losses=1), 14),
)
"""Within these bounds, every trace of up to so many actions. Those that are longer than that never end."""

LONG: tuple[Bounds, ...] = (
    Bounds(keys=(0, 1, 0), batch=3, page=9, acquires=3, troubles=2, losses=2, replays=1, settles=1),
    Bounds(keys=(0, 0), batch=1, page=9, acquires=2, troubles=1, losses=2),
    Bounds(keys=(0, 1, 0), page=9, early=0, tail=True, acquires=2, troubles=1, losses=1, replays=1),
    Bounds(keys=(0, 0), page=9, acquires=3, losses=1, restores=1, replays=1),
    Bounds(keys=(0, 1, 0, 1), page=9, acquires=3, troubles=3, settles=2, replays=2),
)
"""Within these, traces at random. What a page of the model holds, the product handles in one statement."""

LENGTH = 60
RULES = Rules()
INTERFERENCE = 0.1
"""How likely something else happens next than that a relay goes on: little may, and not all of it at the beginning."""


def every(bounds: Bounds, depth: int) -> Iterator[Trace]:
    """All traces of up to `depth` actions that do not begin another one."""

    def go_on(trace: list[tuple[Action | None, World]]) -> Iterator[Trace]:
        following = list(_next(trace[-1][1], bounds)) if len(trace) <= depth else []
        if not following:
            yield tuple(trace)
        for step in following:
            yield from go_on([*trace, step])

    yield from go_on([(None, beginning(bounds, RULES))])


def along(bounds: Bounds, *whats: str) -> Trace:
    """The trace of these actions, each of which only one relay, or message, can be meant by."""
    trace: list[tuple[Action | None, World]] = [(None, beginning(bounds, RULES))]
    for what in whats:
        [step] = [(action, after) for action, after in _next(trace[-1][1], bounds) if action[0] == what]
        trace.append(step)
    return tuple(trace)


class Walk:
    """Traces at random, which go where those before have not been, if they can."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._seen: Counter[Hashable] = Counter()
        self._turn = seed

    @property
    def kinds(self) -> int:
        """How many kinds of steps have been taken: which request was carried out, how, and what came of it."""
        return len(self._seen)

    def trace(self) -> tuple[Bounds, Trace]:
        """One trace of up to `LENGTH` actions."""
        bounds = LONG[self._turn % len(LONG)]
        self._turn += 1
        trace: list[tuple[Action | None, World]] = [(None, beginning(bounds, RULES))]
        while len(trace) <= LENGTH:
            before = trace[-1][1]
            following = [(_kind(before, action, after), action, after) for action, after in _next(before, bounds)]
            if not following:
                break
            others = [one for one in following if one[1][0] != "step"]
            if len(following) > len(others) > 0:
                goes_on = self._chance.random() > INTERFERENCE
                following = [one for one in following if (one[1][0] == "step") is goes_on]
            [(kind, action, after)] = self._chance.choices(
                following, [1 / (1 + self._seen[k]) ** 2 for k, _, _ in following]
            )
            self._seen[kind] += 1
            trace.append((action, after))
        return bounds, trace


def _kind(before: World, action: Action, after: World) -> Hashable:
    what, token = action
    changed = (before.messages != after.messages, before.lease != after.lease, before.redis != after.redis)
    if what == "late":
        gone = next(late for late in before.flying if before.flying.count(late) > after.flying.count(late))
        return what, gone.request.do, changed
    relay = next((relay for relay in before.relays if relay.token == token), None)
    if relay is None or what not in ("step", "shown", "give up", "send again", "verify"):
        return what.split()[-1], changed
    now = next((other for other in after.relays if other not in before.relays), None)
    return what, relay.request.do, bool(relay.request.entries), now and now.request.do, changed


def _next(world: World, bounds: Bounds) -> Iterator[tuple[Action, World]]:
    for action, after in successors(world, RULES, bounds):
        if (action[0] != "complete" or _is_held(world, action[1])) and (action[0] != "shown" or after != world):
            yield action, after


def _is_held(world: World, i: int) -> bool:
    """Whether a worker can have the message's last attempt: the product lets nobody complete it under another one."""
    streams = world.redis.stream + (world.saved.stream if world.saved else ())
    return (i, world.messages[i].attempt) in streams

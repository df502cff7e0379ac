"""What is promised, said so that a program can judge it."""

from __future__ import annotations

from collections import Counter

from . import relay as program
from .rules import Bounds, Rules
from .world import Do, Left, State, World, name

QUIET = 100
"""So many steps without a fault must be enough for one relay to recover, drain and find nothing more to do."""


class Judge:
    """Judges worlds. It remembers what it has judged: most worlds differ only in what is on its way."""

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        self._rules = rules
        self._bounds = bounds
        self._safe: dict[object, str | None] = {}
        self._quiet: dict[object, str | None] = {}

    def judge(self, world: World) -> str | None:
        """The first broken promise, or None."""
        safe = (world.redis.stream, tuple((m.replays, m.excused) for m in world.messages))
        if safe not in self._safe:
            self._safe[safe] = self._unsafe(world)
        if broken := self._safe[safe]:
            return broken
        there, token = world.redis.checkpoint, world.lease.token
        behind = there is not None and there.token > token
        unfenced = world.redis._replace(checkpoint=there and there._replace(token=token + 9 if behind else 0))
        messages = tuple(m._replace(fence=m.fence > token) if m.fence else m for m in world.messages)
        quiet = (messages, world.lease.position, unfenced)
        if quiet not in self._quiet:
            self._quiet[quiet] = self._when_quiet(world)
        return self._quiet[quiet]

    def _unsafe(self, world: World) -> str | None:
        """G4 and G3, in every world."""
        stream, keys = world.redis.stream, self._bounds.keys
        for entry, count in Counter(stream).items():
            if count > 1:
                return f"G4: {name(keys, entry[0])} is in the stream {count} times under attempt {entry[1]}"
        order = list(dict.fromkeys(i for i, _ in stream))
        for i, message in enumerate(world.messages):
            if sum(j == i for j, _ in stream) > 1 + message.replays:
                return f"G4: {name(keys, i)} has more entries than the one and {message.replays} replays"
            if i in order and not message.excused and any(keys[j] == keys[i] for j in order[: order.index(i)] if j > i):
                return f"G3: {name(keys, i)} comes after a later message of its key, and no fault is an excuse for it"
        return None

    def _when_quiet(self, world: World) -> str | None:
        """G5: without any more faults, one relay brings every message to its stream, and repeats none."""
        end, keys = self.drained(world), self._bounds.keys
        if end is None:
            return "G5: a relay alone does not come to rest"
        if broken := self._unsafe(end):
            return f"{broken} (once a relay has recovered and drained)"
        for i, message in enumerate(world.messages):
            again = any(j == i for j, _ in end.redis.stream[len(world.redis.stream) :])
            if message.settled and message.state is State.PUBLISHED and again:
                return f"G5: {name(keys, i)} is published again, although its subject is settled"
        for i, message in enumerate(end.messages):
            if message.state is State.PUBLISHED and (i, message.attempt) not in end.redis.stream:
                return f"G5: {name(keys, i)} is published in MongoDB, is not in the stream, and nobody will notice"
        return None

    def drained(self, world: World) -> World | None:
        """The world after all relays have died and one new relay has found nothing more to do."""
        token = world.lease.token + 1 + self._rules.own
        world = world._replace(
            relays=(), flying=(), saved=None, backup=None, left=Left(0, 0, 0, 0, 0),
            lease=world.lease._replace(token=token),
        )  # fmt: skip
        relay = program.started(token, world.lease.intent, self._rules)
        for _ in range(QUIET):
            if relay.request.do is Do.FETCH and relay.request.unmarked:
                relay = program.marking(relay)
            world, answer = program.perform(world, relay, self._rules, self._bounds)
            then = program.follow(world, relay, answer, self._rules, self._bounds)
            if then is None:
                return None
            if then.request.do is relay.request.do is Do.FETCH and then.request.step == 0:
                return world
            relay = then
        return None

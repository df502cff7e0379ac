"""Everything that can happen next in a world: relays go on, and callers, workers, operators and faults interfere."""

from __future__ import annotations

from collections.abc import Iterator

from . import relay as program
from .rules import Bounds, Rules
from .world import START, UNKNOWN, Do, Lease, Left, Message, Redis, Relay, State, World, fresh_marker

Action = tuple[str, int]
"""What happened, and to which message or under which token."""

_LEAVES_NOTHING = (Do.SCAN, Do.FETCH)
"""Requests that only read: given up, they leave nothing on its way."""


def beginning(bounds: Bounds, rules: Rules) -> World:
    """Nothing published, nobody there, and an empty Redis as the one that can come back."""
    messages = tuple(Message(State.PENDING if i < bounds.early else State.ABSENT) for i in range(len(bounds.keys)))
    left = Left(bounds.acquires, bounds.troubles, bounds.losses, bounds.replays, bounds.settles, bounds.restores)
    lease = Lease(0, UNKNOWN if rules.unknown else START)
    return World(messages, lease, Redis(), Redis() if bounds.losses else None, (), (), left)


def successors(world: World, rules: Rules, bounds: Bounds) -> Iterator[tuple[Action, World]]:
    yield from _requests(world, rules, bounds)
    yield from _acquires(world, rules)
    yield from _users(world, rules, bounds)
    if world.left.losses:
        yield from _losses(world, bounds)
    if not rules.incarnation and world.redis.checkpoint and world.redis.gone:
        masked = world.redis._replace(marker=world.redis.checkpoint.marker)
        yield ("another partition adds to the new stream", -1), world._replace(redis=masked)
    if world.redis.checkpoint and not world.redis.marker:
        opened = world.redis._replace(marker=fresh_marker(world))
        yield ("another partition opens the new stream", -1), world._replace(redis=opened)
    if world.left.restores:
        yield from _restores(world)


def _requests(world: World, rules: Rules, bounds: Bounds) -> Iterator[tuple[Action, World]]:
    """A relay's request is executed, or given up; one given up earlier is executed late, or never."""
    for relay in world.relays:
        others = tuple(other for other in world.relays if other is not relay)
        if program.may_take(relay, bounds):
            shown = program.from_tail(world, relay, rules, bounds)
            yield ("shown", relay.token), world._replace(relays=_sorted(others, shown))
        if relay.request.do is Do.FETCH and relay.request.unmarked:
            yield ("mark together", relay.token), world._replace(relays=_sorted(others, program.marking(relay)))
            if rules.flushed:
                continue
        after, answer = program.perform(world, relay, rules, bounds)
        then = program.follow(after, relay, answer, rules, bounds)
        if then is None:
            yield ("step", relay.token), after._replace(relays=others)
        elif then != relay or after is not world:
            yield ("step", relay.token), after._replace(relays=_sorted(others, then))
        if relay.request.do is Do.FETCH:
            # An owner that has nothing to publish verifies its checkpoint now and then, by opening it once more.
            if _differs(world, relay):
                opened, there = program.perform(world, relay._replace(request=program.OPEN), rules, bounds)
                yield ("verify", relay.token), opened._replace(relays=_sorted(others, program.verified(relay, there)))
        elif world.left.troubles and relay.request.do not in _LEAVES_NOTHING:
            left = world.left._replace(troubles=world.left.troubles - 1)
            given_up = [relay.request, *([two] if (two := program.suspended(relay.request)) else [])]
            leaving = (Relay(relay.token, request._replace(tail=None)) for request in given_up)
            flying = tuple(sorted((*world.flying, *leaving), key=repr))
            reopened = _sorted(others, relay._replace(request=program.AGAIN))
            yield ("give up", relay.token), world._replace(relays=reopened, flying=flying, left=left)
            if relay.request.do in (Do.PUBLISH, Do.STAMP):
                yield ("send again", relay.token), world._replace(flying=flying, left=left)
    for late in world.flying:
        after, _ = program.perform(world, late, rules, bounds)
        rest = list(world.flying)
        rest.remove(late)
        yield ("late", late.token), after._replace(flying=tuple(rest))


def _differs(world: World, relay: Relay) -> bool:
    """Whether the checkpoint is not what its owner left there."""
    there = world.redis.checkpoint
    return there is None or (there.token, there.position) != (relay.token, relay.request.before) or world.redis.gone


def _sorted(others: tuple[Relay, ...], relay: Relay) -> tuple[Relay, ...]:
    """Which of the two relays is which does not matter: they are told apart by their tokens."""
    if not others:
        return (relay,)
    return (relay, *others) if relay.token < others[0].token else (*others, relay)


def _acquires(world: World, rules: Rules) -> Iterator[tuple[Action, World]]:
    """A lease is taken at any moment, by the other relay or by one that was killed and started again: its time may have
    run out, or a clock may have stepped.
    """
    if not world.left.acquires:
        return
    # One with the lease, and one of its own before it does anything.
    token = world.lease.token + 1 + rules.own
    new = program.started(token, world.lease.intent, rules)
    left = world.left._replace(acquires=world.left.acquires - 1)
    changed = world._replace(lease=world.lease._replace(token=token), left=left)
    if len(world.relays) < 2:
        yield ("acquire", token), changed._replace(relays=_sorted(world.relays, new))
    for dead in world.relays:
        others = tuple(other for other in world.relays if other is not dead)
        yield (f"token {dead.token} is killed; acquire", token), changed._replace(relays=_sorted(others, new))


def _users(world: World, rules: Rules, bounds: Bounds) -> Iterator[tuple[Action, World]]:
    """Callers append, workers settle what they were given, an operator replays."""
    left = world.left
    appended = set()
    for i, message in enumerate(world.messages):
        if message.state is State.ABSENT:
            if bounds.keys[i] not in appended:
                appended.add(bounds.keys[i])
                # Its fence stays: a write names messages that are there, and a page of the model also those to come.
                shown = tuple(program.show(relay, i) for relay in world.relays)
                appended_to = _with(world, i, message._replace(state=State.PENDING))
                yield ("append", i), appended_to._replace(relays=shown)
            continue
        if left.settles and message.state is not State.COMPLETED and _delivered(world, i):
            at = UNKNOWN if rules.shared and rules.raised else message.at
            fewer = left._replace(settles=left.settles - 1)
            yield ("complete", i), _with(world, i, message._replace(state=State.COMPLETED, at=at))._replace(left=fewer)
            if not message.settled:
                yield ("settle the subject", i), _with(world, i, message._replace(settled=True))._replace(left=fewer)
        if left.replays and message.state in (State.PUBLISHED, State.COMPLETED):
            again = message._replace(
                state=State.PENDING,
                attempt=message.attempt + (rules.raised or message.at != UNKNOWN),
                at=UNKNOWN if rules.shared else message.at,
                replays=message.replays + 1,
                excused=True,
            )
            yield ("replay", i), _with(world, i, again)._replace(left=left._replace(replays=left.replays - 1))


def _delivered(world: World, i: int) -> bool:
    """Whether a worker can hold this message: from the stream, or from one that is not live any more."""
    streams = world.redis.stream + (world.saved.stream if world.saved else ())
    return any(j == i for j, _ in streams)


def _with(world: World, i: int, message: Message) -> World:
    return world._replace(messages=(*world.messages[:i], message, *world.messages[i + 1 :]))


def _losses(world: World, bounds: Bounds) -> Iterator[tuple[Action, World]]:
    """Redis is copied; it goes back to the copy, and what it had can come back in its turn; or a key is deleted."""
    redis, left = world.redis, world.left._replace(losses=world.left.losses - 1)
    if redis != world.saved:
        yield ("copy of redis", -1), world._replace(saved=redis)
        if world.saved is not None:
            other = redis if left.losses else None
            yield ("redis goes back", -1), _excuse(world._replace(redis=world.saved, saved=other, left=left), bounds)
    saved = world.saved if left.losses else None
    if redis.checkpoint:
        if redis.stream:
            deleted = Redis((), 0, redis.checkpoint)
            yield ("stream deleted", -1), _excuse(world._replace(redis=deleted, saved=saved, left=left), bounds)
        forgot = Redis(redis.stream, redis.marker)
        yield ("checkpoint deleted", -1), _excuse(world._replace(redis=forgot, saved=saved, left=left), bounds)


def _excuse(world: World, bounds: Bounds) -> World:
    """Messages that are lost while later ones of their key survive cannot come before those again."""
    live = {i for i, _ in world.redis.stream}
    messages = tuple(
        message._replace(excused=True)
        if i not in live and any(j > i and bounds.keys[j] == bounds.keys[i] for j in live)
        else message
        for i, message in enumerate(world.messages)
    )
    return world if messages == world.messages else world._replace(messages=messages)


def _restores(world: World) -> Iterator[tuple[Action, World]]:
    """MongoDB is copied; with all relays stopped, it goes back to the copy, or its leases are made anew."""
    left = world.left._replace(restores=world.left.restores - 1)
    anew = world._replace(lease=Lease(0, UNKNOWN), relays=(), flying=(), backup=None, left=left)
    yield ("relays stopped; the leases are made anew", -1), anew
    if world.backup is None:
        yield ("copy of mongodb", -1), world._replace(backup=(world.messages, world.lease))
        return
    messages, lease = world.backup
    pairs = list(zip(messages, world.messages, strict=True))
    if all((a.state is State.ABSENT) == (b.state is State.ABSENT) for a, b in pairs):
        kept = tuple(a._replace(excused=b.excused) for a, b in pairs)
        yield (
            ("relays stopped; mongodb goes back", -1),
            world._replace(messages=kept, lease=lease, relays=(), flying=(), backup=None, left=left),
        )

"""What a relay does next: the answer to one request decides the next, and any trouble leads back to a new token."""

from __future__ import annotations

from typing import cast

from . import scripts, statements
from .rules import Bounds, Rules
from .world import START, UNKNOWN, Do, Entry, Redis, Relay, Request, World, fresh, fresh_marker

OPEN = Request(Do.OPEN)
AGAIN = Request(Do.RAISE)
"""Where a relay begins again, whatever went wrong."""
_IN_REDIS = (Do.OPEN, Do.SCAN, Do.LOOK, Do.PUBLISH, Do.STAMP)


def perform(world: World, relay: Relay, rules: Rules, bounds: Bounds) -> tuple[World, object]:
    """Let the server execute the relay's request."""
    token, request = relay
    if request.do in _IN_REDIS:
        new = _new(world, rules) if request.do in (Do.OPEN, Do.LOOK) else scripts.New(START, 0)
        redis, answer = scripts.run(world.redis, token, request, new, rules)
        return (world if redis is world.redis else world._replace(redis=redis)), answer
    mongo = statements.Mongo(world.messages, world.lease)
    recovery = fresh(world, UNKNOWN[0]) if request.do is Do.COMPARE and rules.named else UNKNOWN
    after, answer = statements.run(mongo, token, request, recovery, rules, bounds)
    if after is not mongo:
        world = world._replace(messages=after.messages, lease=after.lease)
    return world, answer


def follow(world: World, relay: Relay, answer: object, rules: Rules, bounds: Bounds) -> Relay | None:
    """The relay after its request was answered; None when it has lost its lease and stops."""
    token, request = relay
    if answer == statements.LOST:
        return None
    if answer in (scripts.REFUSED, "gap", statements.STALE):
        return Relay(token, AGAIN)
    if request.do is Do.OPEN and isinstance(answer, int):
        # A higher token in Redis than in MongoDB: somebody else's, or MongoDB was restored from a backup.
        return Relay(token, AGAIN._replace(step=answer))
    if isinstance(answer, statements.Fewer):
        # Fenced by a higher token: likewise.
        return Relay(token, AGAIN._replace(step=answer.above))
    if isinstance(answer, statements.Raised):
        return started(answer.token, answer.intent, rules)
    return Relay(token, _next(world, request, answer, rules, bounds))


def started(token: int, intent: tuple[int, ...], rules: Rules) -> Relay:
    """A relay under a new token, which first fences the messages that an earlier write may still change."""
    if intent and rules.fence:
        return Relay(token, Request(Do.FENCE, entries=tuple((i, 0) for i in intent)))
    return Relay(token, OPEN)


def _next(world: World, request: Request, answer: object, rules: Rules, bounds: Bounds) -> Request:
    position = request.position
    match request.do:
        case Do.FENCE:
            return OPEN
        case Do.OPEN:
            redis = cast(Redis, answer)
            assert redis.checkpoint
            _, there, before, entries, _ = redis.checkpoint
            if not rules.reconcile:
                return Request(Do.STAMP, there, _stamped(world, there, rules), (), redis.marker, world.lease.position)
            return Request(Do.COMPARE, before, there, entries, redis.marker, step=int(redis.gone))
        case Do.COMPARE if answer in ("same", "adopted"):
            # Also when both say the same: the lease advances before the messages are marked.
            marking = Request(Do.MARK, UNKNOWN, position, request.entries, tail=_unjoined(rules, bounds))
            return _mark(marking, rules, bounds)
        case Do.COMPARE if answer == "histories differ":
            return Request(Do.SCAN, position, UNKNOWN, (), request.marker, world.lease.position)
        case Do.COMPARE:
            stamped, scanned = _stamped(world, position, rules), int(answer == "nothing is left")
            return Request(Do.MEAN_TO_TAKE, position, stamped, (), request.marker, world.lease.position, scanned)
        case Do.SCAN:
            found = cast(tuple[Entry, ...], answer)
            request = request._replace(position=_stamped(world, request.before, rules), entries=found)
            return _keep(request)
        case Do.MEAN_TO_KEEP:
            return request._replace(do=Do.KEEP)
        case Do.KEEP:
            return request._replace(do=Do.LOOK)
        case Do.LOOK:
            return _keep(request._replace(step=request.step + bounds.page))
        case Do.MEAN_TO_TAKE:
            lost = cast(tuple[Entry, ...], answer)
            if lost:
                return request._replace(do=Do.TAKE, entries=lost)
            return request._replace(do=Do.STAMP, step=0)
        case Do.TAKE:
            return request._replace(do=Do.MEAN_TO_TAKE, entries=())
        case Do.STAMP:
            return Request(Do.SETTLE, request.recovery, position)
        case Do.FETCH if not rules.snapshot and request.step == 0:
            found = cast(tuple[Entry, ...], answer)
            return request._replace(entries=found, step=found[0][0] + 1 if found else 1)
        case Do.FETCH:
            entries = cast(tuple[Entry, ...], answer)
            tail = _joined(request.tail, len(entries), rules, bounds)
            return publishing(world, request._replace(tail=tail), entries, rules)
        case Do.PUBLISH:
            return request._replace(do=Do.ADVANCE if rules.advance or not rules.late_mark else Do.MARK)
        case Do.ADVANCE if not (rules.advance and rules.late_mark):
            return Request(Do.FETCH, before=position, tail=request.tail)
        case Do.ADVANCE:
            return _mark(Request(Do.MARK, UNKNOWN, position, request.entries, tail=request.tail), rules, bounds)
        case Do.MARK:
            return _mark(request._replace(step=request.step + bounds.page), rules, bounds)
        case Do.SETTLE:
            return Request(Do.FETCH, before=position, tail=_unjoined(rules, bounds))
    raise ValueError(request)


def _keep(request: Request) -> Request:
    """The next page of what a scan has found; after the last one, what is lost."""
    if request.step < len(request.entries):
        return request._replace(do=Do.MEAN_TO_KEEP)
    return request._replace(do=Do.MEAN_TO_TAKE, entries=(), step=1)


def publishing(world: World, request: Request, entries: tuple[Entry, ...], rules: Rules) -> Request:
    """After a look: `entries` go out as the next batch; without any, the relay looks again."""
    if not entries:
        return Request(Do.FETCH, before=request.before, tail=request.tail)
    reached = fresh(world, request.before[0] + 1)
    first = Do.PUBLISH if rules.late_mark else Do.MARK
    return Request(first, request.before, reached, entries, tail=request.tail)


def from_tail(world: World, relay: Relay, rules: Rules, bounds: Bounds) -> Relay:
    """A relay that is to look next, and has been shown something, publishes that and does not ask."""
    token, request = relay
    assert request.tail
    shown, rest = request.tail[: bounds.batch], request.tail[bounds.batch :]
    return Relay(token, publishing(world, request._replace(tail=rest), tuple((i, 1) for i in shown), rules))


def show(relay: Relay, i: int) -> Relay:
    """The change stream of a relay shows the commit of a message, if there is one that counts."""
    token, request = relay
    if request.tail is None:
        return relay
    return Relay(token, request._replace(tail=(*request.tail, i)))


def _unjoined(rules: Rules, bounds: Bounds) -> tuple[int, ...] | None:
    return () if bounds.tail and not rules.joined else None


def _joined(tail: tuple[int, ...] | None, found: int, rules: Rules, bounds: Bounds) -> tuple[int, ...] | None:
    """What the change stream has shown since the snapshot of a fetch, if that was all there was."""
    if not bounds.tail or (rules.whole and found >= bounds.batch):
        return None
    return () if rules.cut or tail is None else tail


def _mark(request: Request, rules: Rules, bounds: Bounds) -> Request:
    """The next page of a mark; after the last one, the next fetch (or what a mutation has put off)."""
    if request.step < len(request.entries):
        return request
    if request.before == UNKNOWN:
        return Request(Do.FETCH, before=request.position, tail=request.tail)
    return request._replace(do=Do.ADVANCE if rules.late_mark else Do.PUBLISH, step=0)


def _new(world: World, rules: Rules) -> scripts.New:
    there, marker = world.redis.checkpoint, world.redis.marker
    position = fresh(world, 0) if there is None and rules.nonce else START
    return scripts.New(position, marker or fresh_marker(world))


def _stamped(world: World, there: tuple[int, int], rules: Rules) -> tuple[int, int]:
    return fresh(world, there[0] + 1) if rules.stamp else there

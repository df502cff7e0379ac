"""What a relay does next: the answer to one request decides the next, and any trouble leads back to a new token."""

from __future__ import annotations

from typing import cast

from . import scripts, statements
from .rules import Bounds, Rules
from .world import START, TAIL, UNKNOWN, Batch, Do, Entry, Redis, Relay, Request, World, fresh, fresh_marker

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
            there, before = redis.checkpoint.position, redis.checkpoint.before
            chain = redis.checkpoint.chain
            if not rules.reconcile:
                return Request(Do.STAMP, there, _stamped(world, there, rules), (), redis.marker, world.lease.position)
            named = _entries(chain)
            return Request(Do.COMPARE, before, there, named, redis.marker, step=int(redis.gone), unmarked=chain)
        case Do.COMPARE if answer in ("same", "adopted"):
            # Also when both say the same: the lease advances before the messages are marked.
            marking = Request(Do.MARK, UNKNOWN, position, request.entries, tail=_unjoined(rules, bounds))
            marking = marking._replace(unmarked=request.unmarked, group=len(request.unmarked))
            return _mark(marking, rules, bounds)
        case Do.COMPARE if answer == "histories differ":
            return Request(Do.SCAN, position, UNKNOWN, (), request.marker, world.lease.position)
        case Do.COMPARE if answer == "later batches lost":
            return Request(Do.SCAN, position, UNKNOWN, (), request.marker, world.lease.position, step=TAIL)
        case Do.COMPARE:
            stamped = _stamped(world, position, rules)
            return Request(Do.MEAN_TO_TAKE, position, stamped, (), request.marker, world.lease.position, step=1)
        case Do.SCAN if request.step == TAIL:
            return request._replace(do=Do.MEAN_TO_TAKE, position=_stamped(world, request.before, rules), step=0)
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
        case Do.PUBLISH if bounds.group and request.tail is not None and rules.advance and rules.late_mark:
            return _unmarked(request, bounds)
        case Do.PUBLISH:
            return request._replace(do=Do.ADVANCE if rules.advance or not rules.late_mark else Do.MARK)
        case Do.ADVANCE if not (rules.advance and rules.late_mark):
            return Request(Do.FETCH, before=position, tail=request.tail)
        case Do.ADVANCE if request.group:
            return _mark(request._replace(do=Do.MARK), rules, bounds)
        case Do.ADVANCE:
            return _mark(Request(Do.MARK, UNKNOWN, position, request.entries, tail=request.tail), rules, bounds)
        case Do.MARK:
            return _mark(request._replace(step=request.step + bounds.page), rules, bounds)
        case Do.SETTLE:
            return Request(Do.FETCH, before=position, tail=_unjoined(rules, bounds))
    raise ValueError(request)


def verified(relay: Relay, answer: object) -> Relay:
    """After an owner has opened its checkpoint once more: it begins again, unless its last batch is what is there.

    Then nothing is lost but a token, as in a copy of the time before it came: that is there again by now.
    """
    there = answer.checkpoint if isinstance(answer, Redis) and not answer.gone else None
    return relay if there and there.position == relay.request.before else relay._replace(request=AGAIN)


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
    return Request(first, request.before, reached, entries, tail=request.tail, unmarked=request.unmarked)


def may_take(relay: Relay, bounds: Bounds) -> bool:
    """Whether the relay has been shown something that it can publish now, also while it marks."""
    _, request = relay
    if not request.tail or len(request.unmarked) >= max(1, bounds.group):
        return False
    return request.do is Do.FETCH or (request.do in (Do.ADVANCE, Do.MARK) and request.group > 0)


def from_tail(world: World, relay: Relay, rules: Rules, bounds: Bounds) -> Relay:
    """A relay that has been shown something publishes that, and does not ask; it may be marking meanwhile."""
    token, request = relay
    assert request.tail
    shown, rest = request.tail[: bounds.batch], request.tail[bounds.batch :]
    last = request.unmarked[-1].position if request.unmarked else request.before
    next_one = publishing(world, request._replace(before=last, tail=rest), tuple((i, 1) for i in shown), rules)
    if request.do is not Do.FETCH:
        next_one = next_one._replace(group=request.group, then=request.do, step=request.step)
    return Relay(token, next_one)


def marking(relay: Relay) -> Relay:
    """A relay that is at rest marks all that is unmarked, together."""
    token, request = relay
    return Relay(token, _advance(request.unmarked, len(request.unmarked), request.tail))


def suspended(request: Request) -> Request | None:
    """The request of a marking that is under way while a batch is published."""
    if request.do is not Do.PUBLISH or not request.then:
        return None
    advance = _advance(request.unmarked, request.group, request.tail)
    return advance._replace(do=request.then, step=request.step)


def _advance(unmarked: tuple[Batch, ...], group: int, tail: tuple[int, ...] | None) -> Request:
    marked = unmarked[:group]
    before, position = marked[0].before, marked[-1].position
    return Request(Do.ADVANCE, before, position, _entries(marked), tail=tail, unmarked=unmarked, group=group)


def _unmarked(request: Request, bounds: Bounds) -> Request:
    """A batch of what was shown is published: its mark can wait, unless too many do."""
    published = Batch(request.before, request.position, request.entries)
    going_on = suspended(request)
    unmarked = (*request.unmarked, published)
    if going_on:
        return going_on._replace(unmarked=unmarked)
    if len(unmarked) >= bounds.group:
        return _advance(unmarked, len(unmarked), request.tail)
    return Request(Do.FETCH, before=request.position, tail=request.tail, unmarked=unmarked)


def _entries(batches: tuple[Batch, ...]) -> tuple[Entry, ...]:
    return tuple(entry for batch in batches for entry in batch.entries)


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
    if request.group:
        left = request.unmarked[request.group :]
        return Request(Do.FETCH, before=request.unmarked[-1].position, tail=request.tail, unmarked=left)
    if request.before == UNKNOWN:
        return Request(Do.FETCH, before=request.position, tail=request.tail)
    return request._replace(do=Do.ADVANCE if rules.late_mark else Do.PUBLISH, step=0)


def _new(world: World, rules: Rules) -> scripts.New:
    there, marker = world.redis.checkpoint, world.redis.marker
    position = fresh(world, 0) if there is None and rules.nonce else START
    return scripts.New(position, marker or fresh_marker(world))


def _stamped(world: World, there: tuple[int, int], rules: Rules) -> tuple[int, int]:
    return fresh(world, there[0] + 1) if rules.stamp else there

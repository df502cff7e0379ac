"""What Redis does: the scripts of a partition. Each is atomic, and stream and checkpoint change together."""

from __future__ import annotations

from typing import NamedTuple

from .rules import Rules
from .world import TAIL, UNKNOWN, Checkpoint, Do, Position, Redis, Request

REFUSED = "refused"
Answer = object


class New(NamedTuple):
    """What `open` gives to a checkpoint and to a stream that are not there: each is another history."""

    position: Position
    marker: int


def run(redis: Redis, token: int, request: Request, new: New, rules: Rules) -> tuple[Redis, Answer]:
    match request.do:
        case Do.OPEN:
            return _open(redis, token, new)
        case Do.SCAN:
            return redis, _scan(redis, token, request, rules)
        case Do.LOOK:
            return _look(redis, token, request, new)
        case Do.PUBLISH:
            return _publish(redis, token, request, rules)
        case Do.STAMP:
            return _stamp(redis, token, request, rules)
    raise ValueError(request)


def _open(redis: Redis, token: int, new: New) -> tuple[Redis, Answer]:
    """Shut out older tokens, mark the stream if it is not marked yet, and say what is there."""
    there = redis.checkpoint or Checkpoint(0, new.position, UNKNOWN, (), 0)
    if there.token > token:
        return redis, there.token
    redis = Redis(redis.stream, redis.marker or new.marker, there._replace(token=token))
    return redis, redis


def _look(redis: Redis, token: int, request: Request, new: New) -> tuple[Redis, Answer]:
    """Open it once more, under the same token, and compare."""
    redis, answer = _open(redis, token, new)
    there = redis.checkpoint
    same = answer is redis and there and (there.position, redis.marker) == (request.before, request.marker)
    return redis, "same" if same else REFUSED


def _scan(redis: Redis, token: int, request: Request, rules: Rules) -> Answer:
    """The stream's entries, unless the checkpoint is not the one that was opened. Those after its last batch: none, as
    the model's streams and checkpoints of one history go back together.
    """
    there = redis.checkpoint
    if there is None or there.token != token:
        return REFUSED
    if rules.pinned and (there.position != request.before or redis.marker != request.marker):
        return REFUSED
    return () if request.step == TAIL else redis.stream


def _publish(redis: Redis, token: int, request: Request, rules: Rules) -> tuple[Redis, Answer]:
    there = redis.checkpoint
    if there is None or (rules.token and there.token != token):
        return redis, REFUSED
    if there.position == request.position:
        return redis, "repeated"
    if not _follows(there, request, rules) or (rules.gone and redis.gone):
        return redis, "gap"
    window = request.unmarked if rules.chained else tuple(b._replace(entries=()) for b in request.unmarked)
    checkpoint = Checkpoint(there.token, request.position, there.position, request.entries, there.marker, window)
    return Redis(redis.stream + request.entries, redis.marker, checkpoint), "published"


def _stamp(redis: Redis, token: int, request: Request, rules: Rules) -> tuple[Redis, Answer]:
    """End a recovery: an empty batch, for the stream that was scanned, whether or not the checkpoint was its own."""
    there = redis.checkpoint
    if there is None or (rules.token and there.token != token):
        return redis, REFUSED
    if rules.marker and redis.marker != request.marker:
        return redis, "gap"
    if not rules.stamp:
        return redis._replace(checkpoint=there._replace(marker=redis.marker)), "resumed"
    if not _follows(there, request, rules):
        return redis, "gap"
    before = UNKNOWN if rules.root else there.position
    checkpoint = Checkpoint(there.token, request.position, before, (), redis.marker)
    return redis._replace(checkpoint=checkpoint), "stamped"


def _follows(there: Checkpoint, request: Request, rules: Rules) -> bool:
    return not rules.chain or there.position == request.before

"""What MongoDB does: the statements on lease and messages. Each is one transaction, filtered on the lease's token."""

from __future__ import annotations

from typing import NamedTuple

from .rules import Bounds, Rules
from .world import UNKNOWN, Do, Entry, Lease, Message, Position, Request, State

LOST = "lease lost"
STALE = "stale"
Answer = object


class Mongo(NamedTuple):
    messages: tuple[Message, ...]
    lease: Lease


def run(mongo: Mongo, token: int, request: Request, rules: Rules, bounds: Bounds) -> tuple[Mongo, Answer]:
    do = request.do
    held = mongo.lease.token == token
    if do is Do.FETCH:
        return mongo, fetch(mongo.messages, request, rules, bounds) if held or not rules.current else LOST
    if do is Do.LABEL:
        return mongo._replace(messages=marked(mongo.messages, request, rules)), "marked"
    if not held and (rules.fence or do not in (Do.KEEP, Do.TAKE)):
        return mongo, LOST
    match do:
        case Do.COMPARE:
            return _compare(mongo, request, rules)
        case Do.KEEP | Do.TAKE:
            return mongo._replace(messages=_page(mongo.messages, request, rules, bounds)), "done"
        case Do.SETTLE:
            return _at(mongo, request.position), "settled"
        case Do.PREMARK:
            return mongo._replace(messages=marked(mongo.messages, request, rules)), "marked"
        case Do.MARK:
            messages = marked(mongo.messages, request, rules) if rules.joint else mongo.messages
            return Mongo(messages, Lease(token, request.position)), "marked"
        case Do.RAISE:
            return mongo._replace(lease=mongo.lease._replace(token=request.step)), "raised"
    raise ValueError(request)


def fetch(messages: tuple[Message, ...], request: Request, rules: Rules, bounds: Bounds) -> tuple[Entry, ...]:
    """Pending messages by position, as one snapshot, each with the attempt under which it goes out."""
    pending = tuple((i, m.attempt) for i, m in enumerate(messages) if m.state is State.PENDING)
    if rules.snapshot:
        return pending[: bounds.batch]
    if request.step == 0:
        return pending[:1]
    return (*request.entries, *(entry for entry in pending if entry[0] >= request.step))[: bounds.batch]


def marked(messages: tuple[Message, ...], request: Request, rules: Rules) -> tuple[Message, ...]:
    after = list(messages)
    for i, attempt in request.entries:
        message = after[i]
        if message.state is State.PENDING and (not rules.exact or message.attempt == attempt):
            after[i] = message._replace(state=State.PUBLISHED, at=request.position)
    return tuple(after)


def _at(mongo: Mongo, position: Position) -> Mongo:
    return mongo._replace(lease=mongo.lease._replace(position=position))


def _compare(mongo: Mongo, request: Request, rules: Rules) -> tuple[Mongo, Answer]:
    """Decide what the checkpoint means, and make the first write of what follows."""
    here, there, gone = mongo.lease.position, request.position, rules.gone and request.step == 1
    known = here != UNKNOWN and not gone
    if known and here == there:
        return mongo, "same"
    if known and here[0] + 1 == there[0] and (here == request.before or not rules.adopt):
        messages = marked(mongo.messages, request, rules) if rules.joint else mongo.messages
        return _at(mongo._replace(messages=messages), there), "adopted"
    agreed = known and here[0] > there[0] and any(_vouches(m, there, rules) for m in mongo.messages)
    if rules.unknown:
        mongo = _at(mongo, UNKNOWN)
    return mongo, "later batches lost" if agreed or not rules.scan else "histories differ"


def _vouches(message: Message, there: Position, rules: Rules) -> bool:
    return message.at == there and (message.state is State.PUBLISHED or not rules.shared)


def _page(messages: tuple[Message, ...], request: Request, rules: Rules, bounds: Bounds) -> tuple[Message, ...]:
    """One page of a recovery."""
    after = list(messages)
    for i in range(request.step, min(request.step + bounds.page, len(after))):
        message = after[i]
        if request.do is Do.TAKE:
            if message.state is State.PUBLISHED and message.at[0] > request.before[0]:
                after[i] = _taken_back(message, rules)
            continue
        attempt = max((attempt for j, attempt in request.entries if j == i), default=0)
        if message.state is State.PUBLISHED and attempt < message.attempt:
            after[i] = _taken_back(message, rules)
        elif message.state is State.PUBLISHED:
            after[i] = message._replace(attempt=attempt, at=request.position if rules.relabel else message.at)
        elif message.state is State.PENDING and attempt >= message.attempt:
            after[i] = message._replace(state=State.PUBLISHED, attempt=attempt, at=request.position)
    return tuple(after)


def _taken_back(message: Message, rules: Rules) -> Message:
    if message.settled and rules.wanted:
        return message._replace(state=State.COMPLETED, at=UNKNOWN)
    return message._replace(state=State.PENDING, attempt=message.attempt + (not rules.same), at=UNKNOWN)

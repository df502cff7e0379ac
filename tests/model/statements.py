"""What MongoDB does: the statements on lease and messages. Each is one transaction, filtered on the lease's token."""

from __future__ import annotations

from typing import NamedTuple

from .rules import Bounds, Rules
from .world import UNKNOWN, Do, Entry, Lease, Message, Position, Request, State

LOST = "lease lost"
STALE = "the lease stands elsewhere"
MESSAGES = (Do.MARK, Do.KEEP, Do.TAKE)
"""Writes to messages: each carries the condition that the lease has not passed on, by the server's clock."""
Answer = object


class Mongo(NamedTuple):
    messages: tuple[Message, ...]
    lease: Lease


def run(
    mongo: Mongo, token: int, request: Request, recovery: Position, rules: Rules, bounds: Bounds
) -> tuple[Mongo, Answer]:
    """Execute a request. `recovery`: what the lease says from here on if a recovery has to begin."""
    do = request.do
    held = mongo.lease.token == token
    if do is Do.FETCH:
        return mongo, fetch(mongo.messages, request, rules, bounds) if held or not rules.current else LOST
    if not held and (rules.fence or do not in MESSAGES):
        return mongo, LOST
    match do:
        case Do.COMPARE:
            return _compare(mongo, request, recovery, rules)
        case Do.KEEP | Do.TAKE:
            return mongo._replace(messages=_page(mongo.messages, request, rules, bounds)), "done"
        case Do.SETTLE | Do.ADVANCE if rules.expected and mongo.lease.position != request.before:
            return mongo, STALE
        case Do.SETTLE:
            return _at(mongo, request.position), "settled"
        case Do.MARK:
            return mongo._replace(messages=_marked(mongo.messages, request, rules, bounds)), "marked"
        case Do.ADVANCE:
            return _at(mongo, request.position), "advanced"
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


def _marked(messages: tuple[Message, ...], request: Request, rules: Rules, bounds: Bounds) -> tuple[Message, ...]:
    """A page of a mark: one statement, of which a crash leaves a part."""
    after = list(messages)
    for i, attempt in request.entries[request.step : request.step + bounds.page]:
        message = after[i]
        if message.state is State.PENDING and (not rules.exact or message.attempt == attempt):
            after[i] = message._replace(state=State.PUBLISHED, at=request.position)
    return tuple(after)


def _at(mongo: Mongo, position: Position) -> Mongo:
    return mongo._replace(lease=mongo.lease._replace(position=position))


def _compare(mongo: Mongo, request: Request, recovery: Position, rules: Rules) -> tuple[Mongo, Answer]:
    """Decide what the checkpoint means, and make the first write of what follows."""
    here, there, gone = mongo.lease.position, request.position, rules.gone and request.step == 1
    known = here[0] != UNKNOWN[0] and not gone
    if known and here == there:
        return mongo, "same"
    if known and here[0] + 1 == there[0] and (here == request.before or not rules.adopt):
        return _at(mongo, there), "adopted"
    agreed = known and here[0] > there[0] and any(_vouches(m, there, rules) for m in mongo.messages)
    if rules.unknown:
        mongo = _at(mongo, recovery)
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

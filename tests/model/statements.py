"""What MongoDB does: the statements on lease and messages. Each is one transaction.

Those on the lease are filtered on its token. Those on messages are not, since a message does not know who holds the
lease: they are filtered on the message's fence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .rules import Bounds, Rules
from .world import UNKNOWN, Do, Entry, Lease, Message, Position, Request, State

LOST = "lease lost"
STALE = "the lease stands elsewhere"
WRITES = (Do.MARK, Do.KEEP, Do.TAKE)
"""Writes to messages."""
Answer = object


class Raised(NamedTuple):
    """The owner's new token, and the messages that the latest write under the lease was about."""

    token: int
    intent: tuple[int, ...]


class Fewer(NamedTuple):
    """A write left messages as they were, the highest of whose fences is this."""

    above: int


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
        found = fetch(mongo.messages, request, rules, bounds)
        # Who finds nothing, and is shown nothing, does not ask whether the lease is held, and waits.
        waits = not found and not bounds.tail
        return mongo, found if held or waits or not rules.current else LOST
    if do in WRITES:
        return _write(mongo, token, request, rules, bounds)
    if do is Do.FENCE:
        return mongo._replace(messages=_fenced(mongo.messages, token, request)), "fenced"
    lost = _lost(mongo.messages, request) if do is Do.MEAN_TO_TAKE else ()
    if do is Do.MEAN_TO_TAKE and not lost:
        return mongo, ()  # likewise
    if not held:
        return mongo, LOST
    match do:
        case Do.RAISE:
            raised = max(token + rules.own, request.step + 1 if request.step else 0)
            return mongo._replace(lease=mongo.lease._replace(token=raised)), Raised(raised, mongo.lease.intent)
        case Do.COMPARE:
            return _compare(mongo, request, recovery, rules)
        case Do.MEAN_TO_KEEP:
            return _intend(mongo, sorted({i for i, _ in _page(request, bounds)}), rules), "recorded"
        case Do.MEAN_TO_TAKE:
            lost = lost[: bounds.page]
            return _intend(mongo, [i for i, _ in lost], rules), lost
        case Do.SETTLE | Do.ADVANCE if rules.expected and mongo.lease.position != request.before:
            return mongo, STALE
        case Do.SETTLE:
            return _at(mongo, request.position), "settled"
        case Do.ADVANCE:
            return _intend(_at(mongo, request.position), _named(request), rules), "advanced"
    raise ValueError(request)


def _write(mongo: Mongo, token: int, request: Request, rules: Rules, bounds: Bounds) -> tuple[Mongo, Answer]:
    """Change messages, except those that are fenced by a higher token."""
    change = {Do.MARK: _marked, Do.KEEP: _kept, Do.TAKE: _taken}[request.do]
    wanted = change(mongo.messages, request, rules, bounds)
    if not rules.heed or all(message.fence <= token for message in mongo.messages):
        return mongo._replace(messages=wanted), "done"
    pairs = list(zip(mongo.messages, wanted, strict=True))
    after = tuple(old if old.fence > token else new for old, new in pairs)
    left = [old.fence for old, new in pairs if old.fence > token and old != new]
    return mongo._replace(messages=after), Fewer(max(left)) if left and rules.looked else "done"


def _fenced(messages: tuple[Message, ...], token: int, request: Request) -> tuple[Message, ...]:
    named = _named(request)
    return tuple(m._replace(fence=token) if i in named and m.fence < token else m for i, m in enumerate(messages))


def _named(request: Request) -> tuple[int, ...]:
    return tuple(i for i, _ in request.entries)


def _intend(mongo: Mongo, messages: Iterable[int], rules: Rules) -> Mongo:
    return mongo._replace(lease=mongo.lease._replace(intent=tuple(messages))) if rules.intent else mongo


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
    for i, attempt in _page(request, bounds):
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
        return _intend(mongo, _named(request), rules), "same"
    follows = any(here == b.before or (not rules.adopt and here[0] + 1 == b.position[0]) for b in request.unmarked)
    if known and follows:
        return _intend(_at(mongo, there), _named(request), rules), "adopted"
    agreed = known and here[0] > there[0] and any(_vouches(m, there, rules) for m in mongo.messages)
    if rules.unknown:
        mongo = _at(mongo, recovery)
    if agreed or not rules.scan:
        return mongo, "later batches lost"
    left = any(message.state in (State.PENDING, State.PUBLISHED) for message in mongo.messages)
    return mongo, "histories differ" if left else "nothing is left"


def _vouches(message: Message, there: Position, rules: Rules) -> bool:
    return message.at == there and (message.state is State.PUBLISHED or not rules.shared)


def _page(request: Request, bounds: Bounds) -> tuple[Entry, ...]:
    return request.entries[request.step : request.step + bounds.page]


def _kept(messages: tuple[Message, ...], request: Request, rules: Rules, bounds: Bounds) -> tuple[Message, ...]:
    """A page of entries that were found in the stream: the first attempts first, so that the last one counts."""
    after = list(messages)
    for i, attempt in sorted(_page(request, bounds)):
        message = after[i]
        if message.state is State.PUBLISHED and attempt >= message.attempt:
            after[i] = message._replace(attempt=attempt, at=request.position if rules.relabel else message.at)
        elif message.state is State.PENDING and attempt >= message.attempt:
            after[i] = message._replace(state=State.PUBLISHED, attempt=attempt, at=request.position)
    return tuple(after)


def _is_lost(message: Message, request: Request) -> bool:
    """Of a scanned stream: all that was not kept. Otherwise: what came after the checkpoint's last batch."""
    if message.state is not State.PUBLISHED:
        return False
    return message.at != request.position if request.step else message.at[0] > request.before[0]


def _lost(messages: tuple[Message, ...], request: Request) -> tuple[Entry, ...]:
    """Those of other numbers first, and then those of the same number under another tag."""
    lost = [i for i, message in enumerate(messages) if _is_lost(message, request)]
    others = [i for i in lost if messages[i].at[0] != request.position[0]]
    return tuple((i, 0) for i in (others or lost))


def _taken(messages: tuple[Message, ...], request: Request, rules: Rules, bounds: Bounds) -> tuple[Message, ...]:
    named = _named(request)
    return tuple(_taken_back(m, rules) if i in named and _is_lost(m, request) else m for i, m in enumerate(messages))


def _taken_back(message: Message, rules: Rules) -> Message:
    if message.settled and rules.wanted:
        return message._replace(state=State.COMPLETED, at=UNKNOWN)
    return message._replace(state=State.PENDING, attempt=message.attempt + (not rules.same), at=UNKNOWN)

"""A counterexample as a story that a human can follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from . import relay as program
from .environment import Action
from .promises import Judge
from .rules import Bounds, Rules
from .search import Found
from .statements import Fewer, Raised
from .world import UNKNOWN, Do, Entry, Message, Position, Redis, Relay, State, World, name


def tell(found: Found, rules: Rules, bounds: Bounds) -> Iterator[str]:
    """Line by line: what happened, and what it left in MongoDB (M) and Redis (R)."""
    before: World | None = None
    for number, (action, world) in enumerate(found.trace):
        yield f"{number:3}. {_happened(before, action, world, rules, bounds)}"
        yield from _changes(before, world, bounds)
        before = world
    if before:
        yield "     From here on nothing goes wrong: a new relay takes the lease, recovers and drains."
        end = Judge(rules, bounds).drained(before)
        yield from _changes(before, end, bounds) if end else iter(["     It does not come to rest."])
    yield f"     => {found.broken}"


def _happened(before: World | None, action: Action | None, after: World, rules: Rules, bounds: Bounds) -> str:
    if before is None or action is None:
        return "at first"
    what, which = action
    if what not in ("step", "late", "give up", "send again", "verify", "shown", "mark together"):
        whose = f"token {which}" if "acquire" in what else name(bounds.keys, which)
        return what if which < 0 else f"{what}: {whose}"
    if what == "late":
        relay = next(late for late in before.flying if before.flying.count(late) > after.flying.count(late))
    else:
        relay = next(relay for relay in before.relays if relay.token == which)
    if what == "shown":
        return (
            f"relay {which} is shown {_names((relay.request.tail or ())[: bounds.batch], bounds)} by its change stream"
        )
    request = _request(relay, bounds)
    if what in ("step", "late"):
        answer = _answer(program.perform(before, relay, rules, bounds)[1], bounds)
        who = f"relay {which}" if what == "step" else f"a request that relay {which} gave up arrives late"
        return f"{who}: {request} -> {answer}"
    meaning = {
        "give up": f"gives up: {request} (may still happen)",
        "send again": f"sends twice: {request}",
        "mark together": "begins to mark all that is not marked",
        "verify": "has nothing else to do, and verifies its checkpoint",
    }
    return f"relay {which} {meaning[what]}"


def _request(relay: Relay, bounds: Bounds) -> str:
    _, request = relay
    match request.do:
        case Do.COMPARE | Do.ADVANCE | Do.SETTLE | Do.PUBLISH | Do.MARK | Do.STAMP:
            sent = _entries(request.entries, bounds) + " " if request.entries else ""
            return f"{request.do} {sent}at {_position(request.position)}"
        case Do.FENCE | Do.TAKE:
            return f"{request.do} {_names([i for i, _ in request.entries], bounds)}"
        case Do.KEEP | Do.MEAN_TO_KEEP:
            return f"{request.do}, page from {request.step}: {_entries(request.entries, bounds)}"
        case _:
            return str(request.do)


def _answer(answer: object, bounds: Bounds) -> str:
    if isinstance(answer, Redis) and answer.checkpoint:
        gone = ", of another stream" if answer.gone else ""
        return f"the checkpoint stands at {_position(answer.checkpoint.position)}{gone}"
    if isinstance(answer, Raised):
        return f"token {answer.token}; the latest write was about {_names(answer.intent, bounds)}"
    if isinstance(answer, Fewer):
        return f"fewer than should be: token {answer.above} has fenced some"
    if isinstance(answer, tuple):
        return _entries(answer, bounds)
    return f"refused: token {answer} is there" if isinstance(answer, int) else str(answer)


def _changes(before: World | None, after: World, bounds: Bounds) -> Iterator[str]:
    if before is None or (before.messages, before.lease) != (after.messages, after.lease):
        committed = [(i, message) for i, message in enumerate(after.messages) if message.state is not State.ABSENT]
        messages = ", ".join(_message(i, message, bounds) for i, message in committed)
        yield f"       M  {messages}; lease: token {after.lease.token} at {_position(after.lease.position)}"
    if before is None or before.redis != after.redis:
        there = after.redis.checkpoint
        checkpoint = f"token {there.token} at {_position(there.position)} of stream {there.marker}" if there else "none"
        yield f"       R  stream {after.redis.marker} {_entries(after.redis.stream, bounds)}; checkpoint: {checkpoint}"


def _message(i: int, message: Message, bounds: Bounds) -> str:
    at = f" at {_position(message.at)}" if message.state is State.PUBLISHED else ""
    attempt = f" (attempt {message.attempt})" if message.attempt > 1 else ""
    fence = f" (fence {message.fence})" if message.fence else ""
    return f"{name(bounds.keys, i)} {message.state}{at}{attempt}{fence}{', settled' if message.settled else ''}"


def _names(messages: Iterable[int], bounds: Bounds) -> str:
    return "[" + " ".join(name(bounds.keys, i) for i in messages) + "]"


def _entries(entries: tuple[Entry, ...], bounds: Bounds) -> str:
    return "[" + " ".join(name(bounds.keys, i) + (f"/{k}" if k > 1 else "") for i, k in entries) + "]"


def _position(position: Position) -> str:
    number, tag = position
    return "unknown" if number == UNKNOWN[0] else f"{number}{'-abcdefgh'[tag]}"

"""A recorded run as a path of the model: each request was possible when it was made, and led to what it was answered.

A request takes effect at some moment between its two lines in the record. The moments of several that were under way
together can have been in any order; one that was not answered takes effect at any later time, or never. So there is not
one world of the model at a time but a few, of which each line leaves those that agree with it. None left: the product
did what the model does not do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.conformance.carry import Drift
from tests.conformance.mapping import NAMED
from tests.conformance.shapes import shape
from tests.model import relay as program
from tests.model.environment import Action, beginning, successors
from tests.model.rules import Bounds, Rules
from tests.model.world import Do, Entry, Relay, Request, World

RULES = Rules()
HOLDS = (Do.COMPARE, Do.MEAN_TO_KEEP, Do.MEAN_TO_TAKE, Do.SETTLE, Do.ADVANCE)
STEPS: dict[str, tuple[Do, ...]] = {
    "store.fence": (Do.FENCE,),
    "checkpoints.open": (Do.OPEN,),
    "leases.hold": HOLDS,
    "leases.advance": (Do.ADVANCE,),
    "checkpoints.scan": (Do.SCAN,),
    "losses.keep": (Do.KEEP,),
    "losses.take_back": (Do.TAKE,),
    "checkpoints.stamp": (Do.STAMP,),
    "store.fetch": (Do.FETCH,),
    "checkpoints.publish": (Do.PUBLISH,),
    "store.mark": (Do.MARK,),
    "store.mark_all": (Do.MARK,),
}
"""Which requests of the model a recorded one can be."""


IGNORED = ("leases.take_up", "losses.shares_history")
"""Reads that belong to the request after them."""


class Asked(NamedTuple):
    """A recorded request, and what it was answered: `outcome` None, nothing; `said`, its token or messages."""

    id: str
    call: str
    token: int = 0
    entries: tuple[Entry, ...] = ()
    batch: int | None = None
    outcome: str | None = None
    said: Any = None


State = tuple[World, frozenset[Asked]]
"""A world, and the requests that have not taken effect in it."""


def check(record: Path, bounds: Bounds, seen: Mapping[str, World]) -> int:
    """Returns how many requests there were. Raises Drift at the first that the model does not make.

    :param seen: what was found in the databases, by the ids of the lines `seen`.
    """
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    answers = {line["id"]: line for line in lines if "call" not in line}
    appended = [answers[line["id"]]["message"] for line in lines if line.get("call") == "append"]
    numbers = {message: number for number, message in enumerate(appended)}
    path = _Path(bounds, seen)
    asked: dict[str, Asked] = {}
    for line in lines:
        if line.get("call") in IGNORED or ("call" not in line and line["id"] not in asked):
            continue
        if "call" in line:
            asked[line["id"]] = one = _asked(line, answers.get(line["id"], {}), numbers)
            path.sent(one)
        else:
            path.answered(asked[line["id"]])
    return len(asked)


def _asked(line: dict[str, Any], answer: dict[str, Any], numbers: dict[str, int]) -> Asked:
    def entries(of: Any) -> tuple[Entry, ...]:
        return tuple((numbers[message], attempt) for message, attempt in of or ())

    said = entries(answer.get("entries")) if line["call"] == "store.fetch" else answer.get("token")
    if line["call"] == "append":
        said = numbers[answer["message"]]
    outcome = answer.get("outcome")
    if outcome == "unanswered":
        outcome = None
    return Asked(
        line["id"], line["call"], line.get("token", 0), entries(line.get("entries")), line.get("batch"), outcome, said
    )


class _Path:
    def __init__(self, bounds: Bounds, seen: Mapping[str, World]) -> None:
        self._bounds, self._seen = bounds, {id_: _shape(world) for id_, world in seen.items()}
        self._states: set[State] = {(beginning(bounds, RULES), frozenset())}
        self._known: dict[tuple[World, int | None], tuple[tuple[Action, World], ...]] = {}

    def sent(self, asked: Asked) -> None:
        states = {(world, open_ | {asked}) for world, open_ in self._states}
        self._go_on(states, asked, done=asked.outcome is None)

    def answered(self, asked: Asked) -> None:
        if asked.outcome is not None:
            self._go_on(self._states, asked, done=True)

    def _go_on(self, states: set[State], asked: Asked, *, done: bool) -> None:
        """All that can be by now; `done`: the request has taken effect."""
        found, new = set(states), list(states)
        while new:
            world, open_ = new.pop()
            following = {(after, open_ - {one}) for one in open_ for after in self._effects(world, one)}
            following |= {(after, open_) for action, after in self._moves(world) if action[0] == "late"}
            new += following - found
            found |= following
        self._states = {state for state in found if asked not in state[1]} if done else found
        if not self._states:
            about = [(relay.token, str(relay.request.do)) for world, _ in list(states)[:3] for relay in world.relays]
            raise Drift(f"the model does not do {asked}; its relays are about to: {about}")

    def _moves(self, world: World, batch: int | None = None) -> Iterable[tuple[Action, World]]:
        if (world, batch) not in self._known:
            bounds = self._bounds._replace(batch=batch or self._bounds.batch)
            self._known[world, batch] = tuple(successors(world, RULES, bounds))
        return self._known[world, batch]

    def _after(self, world: World, action: Action, batch: int | None = None) -> Iterator[World]:
        return (after for done, after in self._moves(world, batch) if done == action)

    def _effects(self, world: World, asked: Asked) -> Iterator[World]:
        """The worlds after a request; none, if the model does not make it here, or gives it another answer."""
        match asked.call:
            case "append":
                yield from self._after(world, ("append", asked.said))
            case "flushall":
                yield from self._after(world, ("redis goes back", -1))
            case "seen":
                if _shape(world) == self._seen[asked.id]:
                    yield world
            case "leases.acquire" if not asked.said:
                yield world
            case "leases.acquire":
                for (what, token), after in self._moves(world):
                    if what.endswith("acquire") and token == asked.said + RULES.own:
                        yield after
            case "leases.begin_anew":
                yield from self._begun_anew(world, asked)
            case "checkpoints.look":
                relay = _relay(world, asked.token)
                looks = relay and relay.request.do is Do.LOOK
                seen = [*self._after(world, ("step" if looks else "verify", asked.token))]
                yield from seen
                if not looks and (not seen or asked.outcome is None):
                    yield world
            case _:
                yield from self._requested(world, asked)

    def _begun_anew(self, world: World, asked: Asked) -> Iterator[World]:
        """The first token of its own is part of the model's `acquire`. Others come after whatever went wrong."""
        if (asked.said and _relay(world, asked.said)) or not (relay := _relay(world, asked.token)):
            if asked.said or asked.outcome != "done":
                yield world
            return
        worlds = [world, *self._after(world, ("verify", asked.token))]
        if relay.request.do is not Do.RAISE:
            # It gave up a read, or its own trust in the lease: nothing of that is on its way.
            again = relay._replace(request=program.AGAIN)
            worlds.append(world._replace(relays=tuple(again if one is relay else one for one in world.relays)))
        for ready in worlds:
            if (there := _relay(ready, asked.token)) and there.request.do is Do.RAISE:
                for after in self._after(ready, ("step", asked.token)):
                    if bool(asked.said) == bool(asked.said and _relay(after, asked.said)):
                        yield after

    def _requested(self, world: World, asked: Asked) -> Iterator[World]:
        relay, fails = _relay(world, asked.token), asked.outcome in ("lost", "refused")
        nothing = asked.call == "losses.take_back" and asked.outcome == "nothing"
        nothing |= asked.call in ("store.fetch", "checkpoints.scan") and asked.outcome is None
        if nothing or (fails and world.lease.token != asked.token) or (not relay and asked.outcome != "done"):
            yield world
        if not relay or nothing:
            return
        for ready in self._ready(world, relay, asked):
            if asked.outcome is None:
                yield from self._after(ready, ("give up", asked.token))
                continue
            for after in [*self._after(ready, ("step", asked.token))] or [ready]:
                then = _relay(after, asked.token)
                if asked.call == "store.fetch":
                    if then is None or then.request.entries == asked.said:
                        yield after
                elif fails != (then is not None and then.request.do is not Do.RAISE):
                    yield after

    def _ready(self, world: World, relay: Relay, asked: Asked) -> Iterator[World]:
        """The worlds in which the relay is about to make the request, after what it decides by itself."""
        worlds = [world]
        if asked.call == "checkpoints.publish":
            worlds += self._after(world, ("shown", relay.token), len(asked.entries))
        elif asked.call in ("leases.hold", "leases.advance"):
            worlds += self._after(world, ("mark together", relay.token))
        elif asked.call == "checkpoints.stamp" and relay.request.do is Do.MEAN_TO_TAKE:
            worlds += self._after(world, ("step", relay.token))  # there is nothing
        for ready in worlds:
            there = _relay(ready, relay.token)
            if there and there.request.do in STEPS[asked.call] and _is(there.request, asked):
                yield ready


def _is(request: Request, asked: Asked) -> bool:
    if request.do is Do.FENCE:
        return {i for i, _ in request.entries} == {i for i, _ in asked.entries}
    if request.do in NAMED and request.entries != asked.entries:
        return False
    goes_on = request.do in (Do.ADVANCE, Do.SETTLE, Do.STAMP, Do.PUBLISH)
    return not goes_on or request.position[0] == asked.batch


def _relay(world: World, token: int) -> Relay | None:
    return next((relay for relay in world.relays if relay.token == token), None)


def _shape(world: World) -> Any:
    """What is in the databases; the checkpoint with the messages of all batches that may not be marked."""
    there = world.redis.checkpoint
    if there and there.window:
        entries = tuple(entry for batch in there.chain for entry in batch.entries)
        world = world._replace(redis=world.redis._replace(checkpoint=there._replace(entries=entries)))
    return shape(world._replace(relays=(), flying=(), saved=None, backup=None))

"""Carry a trace of the model out on real servers, and compare the states after each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tests.conformance.real import Real
from tests.conformance.shapes import differences, shape
from tests.model.environment import Action
from tests.model.rules import Bounds, Rules
from tests.model.search import Found
from tests.model.telling import tell
from tests.model.world import Relay, World
from tests.relay.world import World as Servers

Trace = Sequence[tuple[Action | None, World]]
"""Each action with the world after it; the first has none."""


class Drift(AssertionError):
    """The product and the model differ."""


def without_delays(set_: Callable[[str, object], None]) -> None:
    """What the model leaves out, or leaves to other traces: relays that wait for each other before a search, fetches of
    several batches, and marks that come later."""
    set_("outbox_relay.surveys.GATHER_SECONDS", 0)
    set_("outbox_relay.ahead.BATCHES", 1)
    set_("outbox_relay.marks.MOST_BATCHES", 1)


async def carry(servers: Servers, trace: Trace, bounds: Bounds) -> int:
    """Returns how many states were compared. Raises Drift at the first that differs."""
    real = Real(servers, bounds)
    await real.begin()
    try:
        before = trace[0][1]
        await _compare(real, trace[:1], bounds)
        for number, (action, after) in enumerate(trace[1:], start=2):
            assert action
            try:
                await _do(real, before, action, after)
            except Exception as error:
                raise Drift(_story(trace[:number], bounds, [f"really: {error!r}"])) from error
            await _compare(real, trace[:number], bounds)
            before = after
    finally:
        await real.close()
    return len(trace)


async def _compare(real: Real, trace: Trace, bounds: Bounds) -> None:
    seen = await real.seen()
    expected, found = shape(trace[-1][1]), shape(seen)
    if expected != found:
        raise Drift(_story(trace, bounds, differences(expected, found)))
    if wrong := real.not_where_recorded(seen):
        raise Drift(_story(trace, bounds, wrong))


def _story(trace: Trace, bounds: Bounds, why: Iterable[str]) -> str:
    told = list(tell(Found(0, 0.0, "", tuple(trace)), Rules(), bounds))
    end = next(n for n, line in enumerate(told) if line.startswith("     From here on"))
    return "\n".join([*told[:end], "The product does not agree:", *why])


async def _do(real: Real, before: World, action: Action, after: World) -> None:
    what, which = action
    match what:
        case "step" | "shown" | "verify" | "give up" | "send again":
            await _relay(real, what, which, before, after)
        case "late":
            number = [relay for relay, _, _ in real.flying].index(_the_one_more(before.flying, after.flying))
            await real.flying.pop(number)[1]()
        case "append":
            await real.append(which)
        case "complete":
            await real.complete(which, before.messages[which].attempt)
        case "settle the subject":
            await real.settle(which)
        case "replay":
            await real.replay(which)
        case "copy of redis":
            await real.copy_redis()
        case "redis goes back":
            await real.restore_redis()
        case "stream deleted":
            await real.delete_stream()
        case "checkpoint deleted":
            await real.delete_checkpoint()
        case "another partition opens the new stream":
            await real.open_another_partition()
        case "copy of mongodb":
            await real.copy_mongodb()
        case "relays stopped; mongodb goes back":
            await real.restore_mongodb()
        case "relays stopped; the leases are made anew":
            await real.make_leases_anew()
        case "acquire":
            await real.acquire(which)
        case _ if what.endswith("is killed; acquire"):
            await real.actors.pop(int(what.split()[1])).kill()
            await real.acquire(which)
        case _:
            raise ValueError(what)
    if after.saved is None:
        real.forget_copy()


async def _relay(real: Real, what: str, token: int, before: World, after: World) -> None:
    actor = real.actors[token]
    mine = next(relay for relay in before.relays if relay.token == token)
    match what:
        case "step":
            await actor.step()
            del real.actors[token]
            if now := _now(before, after, mine):
                real.actors[now.token] = actor
            if actor.request is None:
                assert now is None, "the relay has lost its lease, and the model's goes on"
            else:
                assert now, "the relay goes on, and the model's has lost its lease"
        case "shown":
            await actor.shown()
        case "verify":
            await actor.verify()
        case "give up":
            old = actor.token
            real.flying.append((_the_one_more(after.flying, before.flying), await actor.give_up(), old))
        case "send again":
            real.flying.append((_the_one_more(after.flying, before.flying), await actor.send_again(), actor.token))


def _the_one_more(more: Sequence[Relay], fewer: Sequence[Relay]) -> Relay:
    """The request that is on its way in only one of two worlds, as the model knows it there: without what its relay has
    been shown, which goes on changing."""
    [one] = (Counter(more) - Counter(fewer)).elements()
    return one


def _now(before: World, after: World, mine: Relay) -> Relay | None:
    others = [relay for relay in before.relays if relay is not mine]
    return next((relay for relay in after.relays if relay not in others), None)

"""Which of the product's calls make up one request of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.gates import Refuse, Request
from tests.model.world import Do

GATED: Mapping[str, Refuse | None] = {
    "leases.begin_anew": None,
    "leases.take_up": None,
    "leases.hold": None,
    "store.fence": lambda args: bool(args["ids"]),
    "store.fetch": None,
    "store.mark": lambda args: bool(args["sent"]),
    "losses.shares_history": None,
    "losses.keep": None,
    "losses.take_back": None,
    "checkpoints.open": None,
    "checkpoints.look": None,
    "checkpoints.scan": None,
    "checkpoints.publish": None,
    "checkpoints.stamp": None,
}
"""The product's calls that are requests of the model, or part of one. All others are made as they come: they are reads
that belong to the request before.
"""

RECORDED: Mapping[str, Refuse | None] = {
    "leases.acquire": None,
    "leases.advance": None,
    "store.mark_all": None,
}
"""Calls that a relay makes when nobody holds it at a gate: it takes leases, and marks batches together."""

PASS = "pass"
"""An owner that knows its checkpoint begins a pass: in the model it is about to fetch."""

ONE: Mapping[str, Do] = {
    "leases.begin_anew": Do.RAISE,
    "store.fence": Do.FENCE,
    "checkpoints.open": Do.OPEN,
    "losses.shares_history": Do.COMPARE,
    "checkpoints.scan": Do.SCAN,
    "losses.keep": Do.KEEP,
    "checkpoints.look": Do.LOOK,
    "losses.take_back": Do.MEAN_TO_TAKE,
    "checkpoints.stamp": Do.STAMP,
    PASS: Do.FETCH,
    "store.fetch": Do.FETCH,
    "checkpoints.publish": Do.PUBLISH,
    "store.mark": Do.MARK,
}
"""What a relay is about to do, by its next call."""

HOLD: Mapping[str, Do] = {
    "checkpoints.open": Do.COMPARE,
    "losses.shares_history": Do.COMPARE,
    "checkpoints.look": Do.MEAN_TO_KEEP,
    "checkpoints.stamp": Do.SETTLE,
    "checkpoints.publish": Do.ADVANCE,
}
"""What it is about to do when it holds its lease, by the call before."""

FOLLOWED: Mapping[Do, tuple[str, ...]] = {
    Do.RAISE: ("leases.take_up",),
    Do.COMPARE: ("leases.hold",),
    Do.SCAN: ("checkpoints.look",),
    Do.FETCH: ("store.fetch",),
}
"""The calls that belong to the request which the first one has begun, if they come."""


def doing(request: Request, before: str) -> Do:
    return HOLD[before] if request.name == "leases.hold" else ONE[request.name]


def named(request: Request) -> tuple[Any, ...]:
    """The messages, with their attempts, that a request names: for those of which the model says it, too."""
    match request.name:
        case "store.fence":
            return tuple((id_, 0) for id_ in request.args["ids"])
        case "store.mark":
            return tuple((sent.id, sent.attempt) for sent in request.args["sent"])
        case "store.mark_all":
            return tuple((sent.id, sent.attempt) for mark in request.args["marks"] for sent in mark.sent)
        case "checkpoints.publish":
            return tuple((message.id, message.attempts + 1) for message in request.args["messages"])
        case _:
            return ()


NAMED = (Do.FENCE, Do.MARK, Do.PUBLISH)
"""Requests of the model whose messages are compared with those of `named`."""

"""What is explored: scenarios that the protocol must survive, and mutations that it must not."""

from __future__ import annotations

from dataclasses import dataclass

from .rules import Bounds, Rules

SCENARIOS: dict[str, Bounds] = {
    "a relay sleeps while redis forgets": Bounds(keys=(0, 1, 0), acquires=2, losses=1),
    "two relays, three leases": Bounds(keys=(0, 1, 0, 1), acquires=3),
    "a request is lost, repeated or late": Bounds(keys=(0, 1, 0), acquires=2, troubles=1),
    "the same, and redis forgets": Bounds(acquires=2, troubles=1, losses=1),
    "redis forgets and remembers": Bounds(acquires=2, losses=2),
    "the same in pages, with a worker": Bounds(keys=(0, 0), page=1, losses=2, settles=1),
    "redis forgets three times": Bounds(keys=(0, 1, 0), early=3, losses=3),
    "a worker and an operator": Bounds(keys=(0, 0), acquires=2, replays=2, settles=1),
    "the same, and a late request": Bounds(acquires=2, troubles=1, replays=1, settles=1),
    "one of each": Bounds(troubles=1, losses=1, replays=1, settles=1),
    "mongodb is restored": Bounds(acquires=2, losses=1, restores=1),
    "a relay sleeps with what it was shown": Bounds(keys=(0, 0), acquires=2, losses=1, tail=True),
    "the same, two keys": Bounds(keys=(0, 1, 0, 1), early=0, acquires=2, tail=True),
    "shown, and a request is late": Bounds(keys=(0, 0), early=0, acquires=2, troubles=1, tail=True),
    "shown, and redis forgets and remembers": Bounds(keys=(0, 0), early=0, losses=2, tail=True),
    "marked together, and a relay sleeps": Bounds(keys=(0, 0, 1), early=0, batch=1, acquires=2, tail=True, group=2),
    "marked together, and a request is late": Bounds(keys=(0, 0), batch=1, acquires=2, troubles=1, tail=True, group=2),
    "marked together, a worker, and redis forgets": Bounds(
        keys=(0, 1, 0), early=0, batch=1, losses=1, settles=1, tail=True, group=2
    ),
    "the same, and remembers": Bounds(keys=(0, 0), early=0, batch=1, losses=2, tail=True, group=2),
    "shown, a worker and an operator": Bounds(keys=(0, 0), early=0, acquires=2, replays=1, settles=1, tail=True),
}
"""Small enough for every change: well under a minute for all."""

DEEP: dict[str, Bounds] = {
    "sleep, four messages": Bounds(keys=(0, 1, 0, 1), acquires=2, losses=1),
    "late, four messages": Bounds(keys=(0, 1, 0, 1), acquires=2, troubles=1),
    "late twice, and forgets": Bounds(keys=(0, 0), troubles=2, losses=1),
    "forgets and remembers, two messages": Bounds(keys=(0, 0), acquires=2, losses=2),
    "forgets, worker and operator, two relays": Bounds(keys=(0, 0), acquires=2, losses=1, replays=1, settles=1),
    "late, worker and operator, two relays": Bounds(keys=(0, 0), acquires=2, troubles=1, replays=1, settles=1),
    "one of each, two messages": Bounds(keys=(0, 0), troubles=1, losses=1, replays=1, settles=1),
    "late and forgets, two keys, two relays": Bounds(keys=(0, 1, 0), acquires=2, troubles=1, losses=1),
    "late, forgets and remembers": Bounds(acquires=2, troubles=1, losses=2),
    "late, forgets and restored": Bounds(acquires=2, troubles=1, losses=1, restores=1),
    "marked together, a sleeper, and redis forgets": Bounds(
        keys=(0, 1, 0), early=0, batch=1, acquires=2, losses=1, tail=True, group=2
    ),
}
"""For a soak: some ten million worlds, and as many gigabytes."""


@dataclass(frozen=True)
class Mutation:
    """Protections that are taken out, bounds within which that breaks a promise, and which promise."""

    without: tuple[str, ...]
    bounds: Bounds
    breaks: str

    @property
    def rules(self) -> Rules:
        return Rules()._replace(**dict.fromkeys(self.without, False))


_SLEEPER = SCENARIOS["a relay sleeps while redis forgets"]
_LOSS = Bounds(losses=1)
_TWO = Bounds(acquires=2, losses=1)
_REPLAY = Bounds(replays=1, settles=1)
_RETURN = Bounds(losses=2)
_PAGES = Bounds(keys=(0, 0), page=1, losses=2)
_TAIL = Bounds(keys=(0, 0), tail=True)
_GROUP = Bounds(keys=(0, 1), early=0, batch=1, tail=True, group=2)
_LATE_LOSS = Bounds(troubles=1, losses=1)

MUTATIONS = (
    Mutation(("chain", "token"), _SLEEPER, "G4"),
    Mutation(("chain",), _LATE_LOSS, "G4"),
    Mutation(("adopt",), _PAGES, "G4"),
    Mutation(("reconcile",), _LOSS, "G4"),
    Mutation(("late_mark",), _LOSS, "G5"),
    Mutation(("advance",), _LOSS, "G5"),
    Mutation(("intent",), _TWO, "G5"),
    Mutation(("fence",), _TWO, "G5"),
    Mutation(("heed",), _TWO, "G5"),
    Mutation(("own",), _LATE_LOSS, "G5"),
    Mutation(("looked",), Bounds(acquires=2, losses=1, restores=1), "G5"),
    Mutation(("exact",), _REPLAY, "G5"),
    Mutation(("raised",), _REPLAY, "G4"),
    Mutation(("same",), _RETURN, "G4"),
    Mutation(("wanted",), Bounds(losses=1, settles=1), "G5"),
    Mutation(("snapshot",), Bounds(keys=(0, 0), early=0), "G3"),
    Mutation(("joined",), _TAIL, "G3"),
    Mutation(("cut",), _TAIL._replace(early=0), "G4"),
    Mutation(("whole",), _TAIL._replace(keys=(0, 0, 0, 0), early=3), "G3"),
    Mutation(("flushed",), _GROUP, "G4"),
    Mutation(("chained",), _GROUP._replace(acquires=2), "G4"),
    Mutation(("current",), Bounds(keys=(0, 0), acquires=2, losses=1), "G3"),
    Mutation(("current",), SCENARIOS["a relay sleeps with what it was shown"], "G3"),
    Mutation(("gone",), _LOSS, "G5"),
    Mutation(("incarnation",), _LOSS, "G5"),
    Mutation(("marker",), _RETURN, "G5"),
    Mutation(("scan",), _LOSS, "G4"),
    Mutation(("pinned",), Bounds(losses=3), "G4"),
    Mutation(("shared",), _PAGES._replace(settles=1), "G4"),
    Mutation(("relabel",), Bounds(keys=(0, 0), losses=3), "G4"),
    Mutation(("unknown",), _PAGES, "G4"),
    Mutation(("nonce",), _RETURN, "G5"),
    Mutation(("stamp",), _LOSS, "G5"),
    Mutation(("root",), Bounds(acquires=2, losses=1, restores=1), "G5"),
)

SECOND_LINES = ("token", "expected", "named")
"""Protections that break nothing when they are taken out alone: the chain check refuses all that the token check does,
and a token of its own for each reconciliation (`own`) all that the others do.
"""

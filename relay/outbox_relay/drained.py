"""How a pass over a partition ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from outbox_relay.recovery import Reconciled
from outbox_relay.service import Next


class Outcome(Enum):
    """How a pass ended."""

    MORE = "more"
    SHOWN = "shown"
    """The change stream has shown more meanwhile."""
    EMPTY = "empty"
    REFUSED = "refused"
    """Redis would not take the batch, or something else is not as it was: what is there must be looked at first."""
    FULL = "full"
    """As much as is allowed waits in the stream for a worker: the rest waits in MongoDB."""
    BLOCKED = "blocked"
    """All that is pending waits for earlier messages of its keys, which are in other partitions."""
    PAUSED = "paused"
    """An operator has paused the stream."""
    LEASE_LOST = "lease lost"


@dataclass(frozen=True, slots=True)
class Drained:
    """One pass over a partition. `held_back`: since the last pass, so many seconds were waited for workers."""

    outcome: Outcome
    published: int = 0
    buried: int = 0
    seconds: float = 0.0
    held_back: float = 0.0
    reconciled: Reconciled | None = None
    backlog: bool = False
    """More waits than one fetch brings."""
    latency: float | None = None
    """From append to entry, in seconds, of the batch's oldest message that is published for the first time. By the
    clocks of who appended it and of Redis: how far they are apart shows."""

    @property
    def next(self) -> Next:
        match self.outcome:
            case Outcome.MORE | Outcome.SHOWN | Outcome.REFUSED:
                return Next.AGAIN
            case Outcome.EMPTY | Outcome.PAUSED:
                return Next.WAIT
            case Outcome.FULL | Outcome.BLOCKED:
                return Next.PAUSE
            case Outcome.LEASE_LOST:
                return Next.END

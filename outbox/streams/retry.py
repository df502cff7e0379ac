"""How often a message of a stream is tried."""

from __future__ import annotations

from dataclasses import dataclass

from outbox.streams.limits import RETRY


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a message is tried, and how long it waits between: exponential with full jitter, in seconds.

    `attempts` counts every publication, whatever it was for: a failed handler, a rescue, a recovery.
    """

    attempts: int = 5
    base_seconds: float = 2.0
    cap_seconds: float = 600.0

    def __post_init__(self) -> None:
        for name, limit in RETRY.items():
            limit.check("retry", name, getattr(self, name))

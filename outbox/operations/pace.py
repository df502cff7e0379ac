"""Pace: how fast a job may go."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from outbox.operations.replay import PAGE


@dataclass(slots=True)
class Pace:
    """How soon the next page may come, so that a job keeps to its rate; by this machine's monotonic clock."""

    rate: float
    _next: float = field(default_factory=time.monotonic)

    @property
    def page(self) -> int:
        """How many messages make a page: half a second's worth, so that progress is steady."""
        return max(1, min(PAGE, int(self.rate / 2)))

    def wait(self) -> float:
        """Seconds until the next page."""
        return max(0.0, self._next - time.monotonic())

    def spent(self, messages: int) -> None:
        self._next = max(self._next, time.monotonic()) + messages / self.rate

"""Monitoring: what one worker process shows at its probes and in its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from outbox.worker.consumer import Consumer
from outbox.worker.handlers import Handlers
from outbox.worker.metrics import InFlight, Metrics
from outbox.worker.probes import Health, exposition_of

TICK_SECONDS = 1.0
SILENT_SECONDS = 60.0
"""An event loop may stand still for so long, beyond what a handler may take, before its process counts as stuck."""


class Monitoring:
    """Of one consumer, which is given as soon as it is made. What it returns is asked for by other threads."""

    def __init__(self, handlers: Handlers) -> None:
        self.consumer: Consumer | None = None
        self.metrics = Metrics([handler.name for handler in handlers], self._in_flight)
        self._ticked = time.monotonic()

    async def tick(self) -> None:
        """Show that the event loop goes on, for ever."""
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)

    def health(self) -> Health:
        return Health(self._alive, self._ready, exposition_of(self.metrics.registry))

    def _in_flight(self) -> Iterable[InFlight]:
        processing = self.consumer.processing if self.consumer else None
        hands = list(processing.hands.values()) if processing else []
        return [InFlight(hand.handler, time.monotonic() - hand.began) for hand in hands]

    def _alive(self) -> bool:
        processing = self.consumer.processing if self.consumer else None
        limits = [hand.limit_seconds for hand in list(processing.hands.values())] if processing else []
        longest = float("inf") if 0 in limits else max(limits, default=0.0)
        return time.monotonic() - self._ticked < SILENT_SECONDS + longest

    def _ready(self) -> dict[str, Any]:
        processing = self.consumer.processing if self.consumer else None
        if self.consumer is None or processing is None:
            return {"waiting_for": ["servers"], "warnings": [], "in_flight": 0}
        return {
            "waiting_for": processing.patience.waits_for + (["stop"] if processing.stop.is_set() else []),
            "warnings": processing.pausing.warnings(processing.streams) + processing.aside.warnings(),
            "in_flight": len(processing.hands), "consumer": self.consumer.name,
        }  # fmt: skip

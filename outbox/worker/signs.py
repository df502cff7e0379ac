"""Signs of life: while a consumer has entries in hand, so that no other takes them for abandoned."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import structlog

from outbox.delivery.entries import Entries
from outbox.streams.declaration import Stream
from outbox.worker.hand import Hand
from outbox.worker.patience import OutOfTime, Patience
from outbox.worker.pulse import Pulse

log = structlog.get_logger(__name__)


class Signs:
    """Those of one consumer, three in `silent_seconds`."""

    def __init__(
        self,
        entries: Entries,
        pulse: Pulse,
        patience: Patience,
        hands: Mapping[tuple[Stream, str], Hand],
        late: asyncio.Event,
        silent_seconds: float,
    ) -> None:
        """:param late: set when the consumer waits for nothing any more."""
        self._entries = entries
        self._pulse = pulse
        self._patience = patience
        self._hands = hands
        self._late = late
        self._silent_seconds = silent_seconds

    async def live(self) -> None:
        """Let the second process know that nothing blocks the event loop, also while Redis is away."""
        while not self._late.is_set():
            await asyncio.sleep(self._silent_seconds / 3)
            self._pulse.alive()

    async def give(self, stream: Stream) -> None:
        """Give signs of life for what is in hand of one stream, and let go of what has been taken over.

        Each stream by itself: its server may be away, or refuse what is asked of this stream alone.
        """
        while not self._late.is_set():  # a driver may swallow the cancellation that should end it
            await asyncio.sleep(self._silent_seconds / 3 * random.uniform(0.8, 1.0))
            self._pulse.beat()
            ids = [id_ for at, id_ in self._hands if at == stream]
            if not ids:
                continue
            with suppress(OutOfTime):
                for id_ in await self._patience.wait(partial(self._entries.beat, stream, ids), self._late):
                    hand = self._hands.get((stream, id_))
                    if hand and not hand.settled:
                        log.warning("entry lost to another consumer", stream=stream.name, entry=id_)
                        hand.abandon()

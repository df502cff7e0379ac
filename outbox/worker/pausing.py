"""Pausing: which streams are paused, as a consumer knows it, looked at twice a second."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import structlog

from outbox.database import Database
from outbox.servers.waiting import first
from outbox.streams import pauses
from outbox.streams.declaration import Stream
from outbox.streams.pauses import Pauses
from outbox.worker.patience import OutOfTime, Patience

log = structlog.get_logger(__name__)


class Pausing:
    """What one consumer knows of pauses. While MongoDB cannot be asked, what was last known counts."""

    def __init__(self, database: Database, patience: Patience, stop: asyncio.Event) -> None:
        self._database = database
        self._patience = patience
        self._stop = stop
        self._found = Pauses()
        self.resumed = asyncio.Event()
        """Set when something is resumed; whoever waits for that clears it before."""

    def __call__(self, stream: Stream) -> bool:
        """Whether nothing of `stream` may be begun."""
        return self._found.of(stream) is not None

    @property
    def any(self) -> bool:
        return bool(self._found.paused)

    def warnings(self, streams: Iterable[Stream]) -> list[str]:
        """A line for each of `streams` that is paused, for an operator."""
        return sorted({str(pause) for stream in streams if (pause := self._found.of(stream))})

    async def look(self) -> None:
        """Raises what MongoDB raises."""
        before, self._found = self._found, await pauses.read(self._database)
        for pause in self._found.paused.values():
            if pause.stream not in before.paused:
                log.info("stream paused", stream=pause.stream, who=pause.who, reason=pause.reason)
        if resumed := before.paused.keys() - self._found.paused.keys():
            log.info("stream resumed", streams=sorted(resumed))
            self.resumed.set()

    async def watch(self) -> None:
        """Look again and again, until the consumer stops."""
        while not self._stop.is_set():
            await first(self._stop, seconds=pauses.LOOK_SECONDS * random.uniform(0.8, 1.0))
            try:
                await self._patience.wait(self.look, self._stop)
            except OutOfTime:
                return

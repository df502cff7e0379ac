"""Pausing: which streams are paused, looked at often enough that a pause is honoured within a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from outbox.database import Database
from outbox.streams import pauses
from outbox.streams.declaration import Streams
from outbox_relay.service import Next

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """How many of the streams that this relay drains are paused."""

    paused: int

    @property
    def next(self) -> Next:
        return Next.WAIT


class Pausing:
    """Keeps `streams.pauses`, which all parts of the relay share, as new as a look every half second makes it.

    While MongoDB cannot be asked, what was last known counts; nothing can be fetched from it either.
    """

    def __init__(self, database: Database, streams: Streams, wake: Callable[[], None]) -> None:
        """:param wake: called after a stream was resumed."""
        self._database = database
        self._streams = streams
        self._wake = wake
        self._logged: frozenset[str] = frozenset()

    async def run_once(self) -> Looked:
        found = await pauses.read(self._database)
        self._streams.pauses = found
        paused = frozenset(pause.stream for pause in self._mine())
        for pause in self._mine():
            if pause.stream not in self._logged:
                log.warning("stream paused", stream=pause.stream, who=pause.who, reason=pause.reason)
        if resumed := self._logged - paused:
            log.info("stream resumed", streams=sorted(resumed))
            self._wake()
        self._logged = paused
        return Looked(len(paused))

    def warnings(self) -> list[str]:
        """A line for each paused stream that this relay drains, for an operator."""
        return [str(pause) for pause in self._mine()]

    def _mine(self) -> list[pauses.Pause]:
        found = self._streams.pauses
        return list({pause.stream: pause for one in self._streams.values() if (pause := found.of(one))}.values())

"""Pausing: which streams are paused, known well enough that a pause is honoured within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from outbox.database import Database
from outbox.servers.waiting import first
from outbox.streams import pauses
from outbox.streams.declaration import Streams
from outbox.streams.pauses import Pauses
from outbox_relay.service import Next

log = structlog.get_logger(__name__)

FRESH_SECONDS = 0.75
"""How old what is known may be when a batch is published. Looks are more frequent, so that no batch waits for one."""
REST_SECONDS = 5.0
"""After so long with nothing to publish, nobody looks."""


@dataclass(frozen=True, slots=True)
class Looked:
    """How many of the streams that this relay drains are paused."""

    paused: int

    @property
    def next(self) -> Next:
        return Next.WAIT


class Pausing:
    """Keeps `streams.pauses`, which all parts of the relay share, as new as it has to be.

    While something is published, or is paused, a look every half second does that. A relay with nothing to publish
    learns of a pause when it reads the registry, with its leases; what it then has to publish waits for a look.

    While MongoDB cannot be asked, nothing can be fetched from it either.
    """

    def __init__(self, database: Database, streams: Streams, wake: Callable[[], None]) -> None:
        """:param wake: called after a stream was resumed."""
        self._database = database
        self._streams = streams
        self._wake = wake
        self._logged: frozenset[str] = frozenset()
        self._as_of = 0.0
        self._wanted_at = 0.0
        self._wanted = asyncio.Event()
        self._looking = asyncio.Lock()
        self._answered = False

    async def run_once(self) -> Looked:
        """One look, once anybody wants to know. Raises what MongoDB raises, as `fresh` does."""
        if self._rests():
            await first(self._wanted, seconds=None)
        self._wanted.clear()
        self._answered = False  # or an outage that was met here would never be over
        await self._look()
        self._answered = True
        return Looked(len(self._logged))

    async def fresh(self) -> None:
        """Before something is published: return once a look was made that is recent enough."""
        self._wanted_at = time.monotonic()
        self._wanted.set()
        if self._is_old():
            async with self._looking:
                if self._is_old():  # or another partition has just looked
                    await self._look()

    def learn(self, found: Pauses, as_of: float) -> None:
        """What somebody has read in a request that was begun at `as_of`, by the monotonic clock."""
        if as_of < self._as_of:
            return  # what is known is newer
        self._as_of, self._streams.pauses = as_of, found
        if self._paused() != self._logged:
            self._wanted.set()

    def warnings(self) -> list[str]:
        """A line for each paused stream that this relay drains, for an operator."""
        return [str(pause) for pause in self._mine()]

    def _rests(self) -> bool:
        unwanted = time.monotonic() - self._wanted_at > REST_SECONDS
        return unwanted and self._answered and not self._logged

    def _is_old(self) -> bool:
        return time.monotonic() - self._as_of > FRESH_SECONDS

    async def _look(self) -> None:
        began = time.monotonic()
        self.learn(await pauses.read(self._database), began)
        paused = self._paused()
        for pause in self._mine():
            if pause.stream not in self._logged:
                log.warning("stream paused", stream=pause.stream, who=pause.who, reason=pause.reason)
        if resumed := self._logged - paused:
            log.info("stream resumed", streams=sorted(resumed))
            self._wake()
        self._logged = paused

    def _paused(self) -> frozenset[str]:
        return frozenset(pause.stream for pause in self._mine())

    def _mine(self) -> list[pauses.Pause]:
        found = self._streams.pauses
        return list({pause.stream: pause for one in self._streams.values() if (pause := found.of(one))}.values())

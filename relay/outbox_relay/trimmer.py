"""Trim the streams, and log which groups keep entries from going."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from outbox.database import Database
from outbox.delivery import trim
from outbox.delivery.trim import Trimmed
from outbox.message.outcome import Found
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Streams
from outbox_relay.service import Next

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """One pass over all streams. `found`: what came of entries that nobody acknowledged."""

    removed: int
    completed: int
    abandoned: int
    found: Found

    @property
    def next(self) -> Next:
        return Next.WAIT


class Trimmer:
    """Trims every stream now and then. Each relay does: a second one finds nothing left."""

    def __init__(self, database: Database, redis: AnyRedis, streams: Streams) -> None:
        self._database = database
        self._redis = redis
        self._streams = streams
        self._logged: set[tuple[str, str, bool]] = set()

    async def run_once(self) -> Round:
        """Raises what a server raises, after all streams have had their turn."""
        streams = list(self._streams.values())  # as they are now: the registry may change meanwhile
        found = await asyncio.gather(
            *(trim.trim(self._database, self._redis, stream) for stream in streams), return_exceptions=True
        )
        trimmed = [one for one in found if isinstance(one, Trimmed)]
        for stream, one in zip(streams, found, strict=True):
            if isinstance(one, Trimmed) and one.judged.reasons:
                log.warning(
                    "unacknowledged entries published again", stream=stream.name,
                    rescued=one.judged.found.rescued, dead=one.judged.found.dead, reasons=one.judged.reasons,
                )  # fmt: skip
        abandoned = {
            (straggler.stream, straggler.group, straggler.ignored): straggler
            for one in trimmed
            for straggler in one.stragglers
            if straggler.abandoned
        }
        for which in abandoned.keys() - self._logged:
            log.warning("trimming blocked by a group", reason=str(abandoned[which]))
        self._logged = set(abandoned)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return Round(
            sum(one.removed for one in trimmed),
            sum(one.completed for one in trimmed),
            len(abandoned),
            sum((one.judged.found for one in trimmed), Found()),
        )

"""Trim the streams, and log which groups keep entries from going."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from outbox.database import Database
from outbox.delivery import trim
from outbox.delivery.trim import Trimmed
from outbox.message.outcome import Found
from outbox.servers.few import few_connections
from outbox.servers.silence import WatchedSilence
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Streams
from outbox_relay.service import Next

log = structlog.get_logger(__name__)

SLACK_SECONDS = 5.0
"""A look that comes later than after two intervals and so long has waited for something."""


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

    def __init__(self, database: Database, redis: AnyRedis, streams: Streams, *, seconds: float = 10.0) -> None:
        """`seconds`: between two passes."""
        self._database = database
        self._redis = redis
        self._streams = streams
        self._gap_seconds = 2 * seconds + SLACK_SECONDS
        self._silence: dict[tuple[str, float], WatchedSilence[str, str]] = {}
        self._logged: set[tuple[str, str, bool]] = set()

    async def run_once(self) -> Round:
        """Raises what a server raises, after all streams have had their turn."""
        streams = list(self._streams.values())  # as they are now: the registry may change meanwhile
        # A long pass is late. That shall not begin a count of days anew: a small part of it may be missed.
        counts = [(s.key, max(self._gap_seconds, (s.ignore_groups_after_seconds or 0) / 10)) for s in streams]
        self._silence = {count: self._silence.get(count) or WatchedSilence(count[1]) for count in counts}
        async with few_connections(self._redis) as redis:
            found = await asyncio.gather(
                *(
                    trim.trim(self._database, redis, stream, self._silence[count])
                    for stream, count in zip(streams, counts, strict=True)
                ),
                return_exceptions=True,
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

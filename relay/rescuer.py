"""Rescue what is stuck at a worker: of the streams and partitions that are this relay's at present."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from outbox.rescue import Found, Rescue
from outbox.streams import Partition, Streams
from relay.service import Next

log = structlog.get_logger(__name__)

SHARE = 10
"""How often a stream is looked at in the time after which something is stuck."""
MAX_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Rescued:
    """What one pass over everything did."""

    found: Found

    @property
    def next(self) -> Next:
        return Next.WAIT


class Rescuer:
    """Looks at a stream's consumers when its first partition is this relay's, and at the messages of each that is.

    So each is looked at by one relay. Should two do it for a moment, nothing happens twice.
    """

    def __init__(self, streams: Streams, rescue: Rescue, held: Callable[[], Collection[Partition]]) -> None:
        self._streams = streams
        self._rescue = rescue
        self._held = held

    async def run_once(self) -> Rescued:
        found = Found()
        for partition in self._held():
            stream = self._streams[partition.stream]
            if stream.rescue_seconds:
                if partition.number == 0:
                    found += await self._rescue.abandoned(stream)
                found += await self._rescue.vanished(stream, partition)
        if found.rescued or found.dead:
            log.warning("rescued from workers that are gone", rescued=found.rescued, dead=found.dead)
        return Rescued(found)


def interval(streams: Streams) -> float:
    """Seconds between two passes."""
    limits = [stream.rescue_seconds for stream in streams.values() if stream.rescue_seconds]
    return min([MAX_SECONDS, *(limit / SHARE for limit in limits)])

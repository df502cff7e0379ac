"""Rescue what is stuck at a worker: of the streams and partitions that are this relay's at present."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from outbox.delivery.held import Holding
from outbox.message.outcome import Found
from outbox.streams.declaration import Partition, Stream, Streams
from outbox.worker.rescue import Rescue
from outbox_relay.service import Next

log = structlog.get_logger(__name__)

SHARE = 10
"""How often a stream is looked at in the time after which something is stuck."""
MAX_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Rescued:
    """What one pass over everything did."""

    found: Found
    held: Mapping[str, int]
    """Entries that consumers hold beyond the limit, by stream, as far as this relay looks at it."""

    @property
    def next(self) -> Next:
        return Next.WAIT


class Rescuer:
    """Looks at a stream's consumers when its first partition is this relay's, and at the messages of each that is.

    So each is looked at by one relay. Should two do it for a moment, nothing happens twice.
    """

    def __init__(self, streams: Streams, rescue: Rescue, partitions: Callable[[], Collection[Partition]]) -> None:
        self._streams = streams
        self._rescue = rescue
        self._partitions = partitions
        self._named: set[tuple[str, str, str]] = set()

    async def run_once(self) -> Rescued:
        """Raises what a server raises, after all streams have had their turn: one may be on a node that is away."""
        found = Found()
        holdings: list[Holding] = []
        failed: Exception | None = None
        by_stream: defaultdict[Stream, list[Partition]] = defaultdict(list)
        for partition in self._partitions():
            if stream := self._streams.get(partition.stream):  # as it is now: it may be removed at any time
                by_stream[stream].append(partition)
        for stream, partitions in by_stream.items():
            try:
                # While a stream is paused, what consumers hold is left with them: nobody would work on it now.
                paused = self._streams.pauses.of(stream) is not None
                if any(partition.number == 0 for partition in partitions):
                    await self._rescue.times_ahead(stream)
                for partition in partitions:
                    if stream.rescue_seconds and partition.number == 0 and not paused:
                        found += await self._rescue.abandoned(stream)
                    # Without a subject, what was removed before anybody was given it is lost, and no worker's affair.
                    if stream.rescue_seconds or stream.subject is None:
                        found += await self._rescue.vanished(stream, partition)
                    if partition.number == 0 and not paused:
                        holdings += await self._rescue.held(stream)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is raised at the end
                failed = error
        self._name(holdings)
        if found.rescued or found.dead:
            log.warning("stuck messages rescued", rescued=found.rescued, dead=found.dead)
        if failed:
            raise failed
        counts = dict.fromkeys((holding.stream for holding in holdings), 0)
        for holding in holdings:
            counts[holding.stream] += holding.entries
        return Rescued(found, counts)

    def _name(self, holdings: Sequence[Holding]) -> None:
        """Once for each consumer, until it holds nothing for long any more."""
        holders = {(holding.stream, holding.group, holding.consumer): holding for holding in holdings}
        for which in holders.keys() - self._named:
            log.warning("entries held too long", reason=str(holders[which]), command=holders[which].command)
        self._named = set(holders)


def interval(streams: Streams) -> float:
    """Seconds between two passes."""
    limits = [stream.rescue_seconds for stream in streams.values() if stream.rescue_seconds]
    return min([MAX_SECONDS, *(limit / SHARE for limit in limits)])

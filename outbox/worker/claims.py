"""Claims: entries that are taken over from consumers that died, or that a lost reply has given to this one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Container, Sized
from dataclasses import replace
from typing import Protocol

import structlog

from outbox.delivery.entries import Entries, Entry, Holder
from outbox.printable import printable
from outbox.streams.declaration import Stream
from outbox.worker.lane import Lane
from outbox.worker.presence import Presence

log = structlog.get_logger(__name__)

DELETED = 100
"""How often a look goes on behind entries that somebody has deleted."""


class InFlight(Sized, Container[tuple[Stream, str]], Protocol):
    """The entries that this consumer works on."""


class Claims:
    """What one consumer takes over."""

    def __init__(
        self,
        entries: Entries,
        in_flight: InFlight,
        left_out: Callable[[Stream], bool],
        presence: Presence,
        *,
        silent_seconds: float,
    ) -> None:
        """:param left_out: whether nothing of a stream may be begun, so that nothing of it is taken over either.
        :param presence: knows whether another process has our name: what is held under it is taken over after silence
            only then, like anybody's.
        """
        self._entries = entries
        self._in_flight = in_flight
        self._left_out = left_out
        self._silent_seconds = silent_seconds
        self._presence = presence
        self._began = time.monotonic()

    async def find(self, lane: Lane, room: int) -> list[Entry]:
        """One entry of a consumer that died, or own ones that are in no hand, after a lost reply.

        One at a time: what was in flight when its worker died may have been the cause, and is handled alone.
        """
        looked_at = time.monotonic()
        if at_once := not lane.claims_at:
            await self._presence.look()
        shared = self._presence.shared
        trusted = time.monotonic() >= lane.trusts_at
        found: list[Entry] = []
        for stream in lane.streams:
            if self._left_out(stream):
                continue
            for holder in await self._entries.holders(stream):
                own = holder.name == self._entries.consumer
                gone = trusted and holder.ours and holder.idle_seconds > self._silent_seconds
                if not holder.pending or not (own or gone) or len(found) >= room:
                    continue
                # Older than this process: held by one before it, of the same name.
                idle = time.monotonic() - self._began if own and not shared else self._silent_seconds
                if suspects := await self._free_of(stream, holder, idle, 1):
                    log.warning("entry taken over", stream=stream.name, entry=suspects[0].id, silent=holder.name)
                    return [replace(entry, suspect=printable(holder.name)) for entry in suspects]
                if own:
                    # Held since before that look: what comes later may be of a process that had our name only then.
                    own_idle = time.monotonic() - looked_at if at_once and not shared else self._silent_seconds
                    found += await self._free_of(stream, holder, own_idle, room - len(found))
        if len(found) < room:
            lane.claims_at = time.monotonic() + self._silent_seconds / 3 * random.uniform(0.8, 1.2)
        return found

    async def _free_of(self, stream: Stream, holder: Holder, idle_seconds: float, count: int) -> list[Entry]:
        """Up to `count` entries that `holder` has held for so long, and that are in no hand here; taken over."""
        for _ in range(DELETED):
            page = count + len(self._in_flight)
            ids = await self._entries.held(stream, holder.name, idle_seconds=idle_seconds, count=page)
            free = [id_ for id_ in ids if (stream, id_) not in self._in_flight][:count]
            found = await self._entries.claim(stream, free, idle_seconds=idle_seconds)
            if found or not free:
                return found  # else they were deleted, which drops them: those behind them are to be taken over
        return []

"""Lanes: what a consumer waits for together, and what not."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from outbox.delivery.entries import Entries, Entry
from outbox.streams.declaration import Stream


@dataclass(slots=True, eq=False)
class Lane:
    """Streams on one server: without a cluster all of them, in a cluster each by itself.

    No lane waits for another one's server: each is read, claimed from, and given signs of life by itself.
    """

    streams: tuple[Stream, ...]
    claims_at: float = 0.0
    """When to look next for entries to take over, those that a lost reply has given us among them."""
    trusts_at: float = 0.0
    """From when on silence means death: while the server was away, nobody could give a sign of life."""
    looking: asyncio.Task[Any] | None = None


def lanes_of(streams: tuple[Stream, ...], *, apart: bool) -> dict[Stream, Lane]:
    """Each stream's lane; `apart`: each is on a server of its own."""
    lanes = [Lane((stream,)) for stream in streams] if apart else [Lane(streams)]
    return {stream: lane for lane in lanes for stream in lane.streams}


async def read_in_order(
    entries: Entries, streams: Sequence[Stream], count: int, *, block_seconds: float
) -> list[Entry]:
    """From the first of `streams` that has entries; if none has, wait for any of them. All are on one server."""
    if len(streams) > 1:
        for stream in streams:
            if found := await entries.read([stream], count):
                return found
    reads: defaultdict[str, list[Stream]] = defaultdict(list)
    for stream in streams:
        reads[stream.group].append(stream)
    for together in reads.values():
        # A count is for each of the streams, and there are hands for so many entries in all.
        each = max(1, count // len(together))
        if found := await entries.read(together, each, block_seconds=block_seconds / len(reads)):
            return found
    return []

"""Intake: a consumer takes what others have abandoned, and what is new, as far as it has room for more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from redis.exceptions import ResponseError

from outbox.delivery.entries import Entry
from outbox.servers.waiting import first
from outbox.streams.declaration import Stream
from outbox.worker.aside import AGAIN_SECONDS
from outbox.worker.claims import Claims
from outbox.worker.failures import TooManyLeft
from outbox.worker.lane import Lane, read_in_order
from outbox.worker.patience import OutOfTime
from outbox.worker.processing import Processing

BLOCK_SECONDS = 1.0
"""How long one read waits for an entry, and so how late a stop is noticed."""
PAUSED_BLOCK_SECONDS = 0.25
"""The same while a stream is paused, and so how late it is noticed that it goes on."""
ANSWER_SECONDS = 0.25
"""How long the others wait for one server's answer, in a cluster. A server that is away is waited for beside them."""
GATHER_SECONDS = 0.05
"""How long, at most, a consumer that is nearly full waits for more to be finished, to read several entries at once."""
GATHER_PART = 0.1
"""The same, as a part of the time that a message takes: what waiting costs where nothing else does."""


class Intake:
    """Reads for a `Processing`, until that stops."""

    def __init__(self, processing: Processing, order: Callable[[], Sequence[Stream]]) -> None:
        """:param order: called before each read: the streams in the order to look."""
        self._processing = processing
        self._order = order
        self._entries = processing.entries
        self._patience = processing.patience
        self._stop = processing.stop
        self._looked = asyncio.Event()
        self._pausing = processing.pausing
        self._aside = processing.aside
        self._claims = Claims(
            self._entries, processing.hands, self._left_out, processing.presence,
            silent_seconds=processing.options.silent_seconds,
        )  # fmt: skip

    async def run(self) -> None:
        """Until a stop, through outages of both servers."""
        lanes = self._processing.lanes
        async with asyncio.TaskGroup() as group:
            with suppress(OutOfTime):
                while not self._stop.is_set():
                    await self._patience.wait(partial(self._take, group), self._stop)
            if looking := [lane.looking for lane in dict.fromkeys(lanes.values()) if lane.looking]:
                for late in (await asyncio.wait(looking, timeout=BLOCK_SECONDS + ANSWER_SECONDS))[1]:
                    late.cancel()  # its server is away; what it may have given us is found by our silence

    async def _take(self, group: asyncio.TaskGroup) -> None:
        """One round: take what has been abandoned, then what is new, as far as there are hands free."""
        processing = self._processing
        processing.free.clear()
        self._looked.clear()
        if self._stop.is_set():
            return
        if len(processing.work.left) >= processing.options.concurrency:
            processing.fail(TooManyLeft(len(processing.work.left)))
            return
        if processing.room <= 0 or processing.has_suspect:
            # A suspect is to be alone, and what was taken beside it would become suspect too if it kills.
            await first(processing.free, seconds=None)
            return
        await self._gather_room()
        if processing.room <= 0:
            return
        self._pausing.resumed.clear()
        await self._aside.look_again()
        streams = [stream for stream in self._order() if not self._left_out(stream)]
        if not streams:
            # Others than paused ones are aside; or `order` has named none, and may do so at any time.
            all_paused = all(map(self._pausing, processing.streams))
            await first(self._pausing.resumed, self._stop, seconds=None if all_paused else AGAIN_SECONDS)
            return
        if not self._entries.apart:
            [lane] = set(processing.lanes.values())
            try:
                await self._look(lane, streams, 0)
            except ResponseError:
                if not await self._aside.sort_out([stream for stream in lane.streams if not self._left_out(stream)]):
                    raise
            return
        for block_seconds in (0, self._block_seconds):
            for stream in streams:
                lane = processing.lanes[stream]
                if lane.looking or processing.room <= 0:
                    continue  # that server is asked, or away
                looking = group.create_task(self._look_alone(lane, block_seconds), name=f"look {stream.name}")
                lane.looking = looking
                if not block_seconds:
                    await asyncio.wait({looking}, timeout=ANSWER_SECONDS)
                    if looking.done() and looking.result():
                        return
        await first(self._looked, processing.free, self._stop, seconds=None)

    def _left_out(self, stream: Stream) -> bool:
        return self._pausing(stream) or self._aside(stream)

    async def _gather_room(self) -> None:
        """Where handlers end one shortly after the other, one read is for several of them."""
        processing, options = self._processing, self._processing.options
        while processing.ahead and processing.room < processing.ahead // 2 and not self._stop.is_set():
            processing.free.clear()  # each hand has its next one, so nothing waits for this
            await first(processing.free, seconds=None)
        seconds = min(GATHER_SECONDS, max(0.005, GATHER_PART * processing.mean_seconds))
        enough, deadline = min(options.concurrency, options.batch) // 2, time.monotonic() + seconds
        while not self._stop.is_set() and processing.room < enough and (seconds := deadline - time.monotonic()) > 0:
            processing.free.clear()
            await first(processing.free, seconds=seconds)

    async def _look_alone(self, lane: Lane, block_seconds: float) -> int:
        """Look for entries of one lane, for as long as its server is away; returns how many were taken."""
        try:
            return await self._patience.wait(partial(self._look, lane, lane.streams, block_seconds), self._stop)
        except OutOfTime:
            return 0
        finally:
            lane.looking = None
            self._looked.set()

    async def _look(self, lane: Lane, streams: Sequence[Stream], block_seconds: float) -> int:
        # While others are looked at as well, one entry each: there may be no hands free for more.
        room = 1 if block_seconds else max(1, self._processing.room)
        try:
            found = await self._claims.find(lane, room) if time.monotonic() >= lane.claims_at else []
            self._begin(found)
            if not found:
                count = min(room, self._processing.options.batch)
                if self._entries.apart:
                    found = await self._entries.read(streams, count, block_seconds=block_seconds)
                else:
                    found = await read_in_order(self._entries, streams, count, block_seconds=self._block_seconds)
                self._begin(found)
        except Exception:
            lane.claims_at = 0.0  # a reply that was lost may have given us entries
            lane.trusts_at = time.monotonic() + self._processing.options.silent_seconds
            raise
        return len(found)

    @property
    def _block_seconds(self) -> float:
        return PAUSED_BLOCK_SECONDS if self._pausing.any else BLOCK_SECONDS

    def _begin(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._processing.begin(entry)

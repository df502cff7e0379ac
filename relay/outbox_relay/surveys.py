"""Surveys: a stream searched for survivors once, for all partitions that wait for it at the time.

Each partition whose history MongoDB does not know has to learn what the stream holds of it. With a search for each of
them, the stream would be read, and MongoDB be asked for every message in it, once for each partition.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.errors import LookAgain
from outbox.message.document import Sent
from outbox.protocol.checkpoint import Checkpoints, Fenced, Opened
from outbox.protocol.leases import Lease
from outbox.protocol.losses import Losses
from outbox.streams.declaration import Partition
from outbox.streams.entry_ids import Range

AHEAD = 4
"""Pages that a partition may be behind the search."""

GATHER_SECONDS = 0.1
"""How long the first waits for others: partitions are acquired several at a time, and lose their data together."""

Page = tuple[list[Sent], Range]


@dataclass(eq=False)
class _Seeker:
    """A partition that waits for what the stream holds of it. None ends its pages."""

    lease: Lease
    opened: Opened
    session: AsyncClientSession
    pages: asyncio.Queue[Page | BaseException | None] = field(default_factory=lambda: asyncio.Queue(AHEAD))
    gone: bool = False

    def leave(self) -> None:
        self.gone = True
        while not self.pages.empty():  # whoever puts a page waits for room
            self.pages.get_nowait()


class Surveys:
    """The searches of one relay."""

    def __init__(self, checkpoints: Checkpoints, losses: Losses, *, gather_seconds: float | None = None) -> None:
        self._gather_seconds = GATHER_SECONDS if gather_seconds is None else gather_seconds
        self._checkpoints = checkpoints
        self._losses = losses
        self._waiting: defaultdict[str, list[_Seeker]] = defaultdict(list)
        self._searches: dict[str, asyncio.Task[None]] = {}

    async def pages(self, lease: Lease, opened: Opened, session: AsyncClientSession) -> AsyncGenerator[Page]:
        """What the stream holds of the partition of `lease`, oldest first, in pages, with the entries they are among.

        All that its earlier owners added is there: none of them could add anything once it was `opened`.

        Raises LookAgain when checkpoint or stream are not those that were `opened` any more: then what was found so far
        means nothing.
        """
        if not await self._losses.any_left(lease.partition, session):
            return  # nothing to keep, and nothing to take back, whatever the stream holds
        seeker = _Seeker(lease, opened, session)
        stream = lease.partition.stream
        self._waiting[stream].append(seeker)
        if stream not in self._searches:
            self._searches[stream] = asyncio.create_task(self._search_all(stream), name=f"survey {stream}")
        try:
            while (page := await seeker.pages.get()) is not None:
                if isinstance(page, BaseException):
                    raise page
                await self._same(seeker)
                yield page
            await self._same(seeker)
        finally:
            seeker.leave()

    async def _same(self, seeker: _Seeker) -> None:
        """A page counts only while the checkpoint is the one that was opened."""
        now = await self._checkpoints.look(seeker.lease.partition, seeker.lease.token)
        if isinstance(now, Fenced) or (now.at, now.marker) != (seeker.opened.at, seeker.opened.marker):
            raise LookAgain(f"{seeker.lease.partition}: the checkpoint or the stream changed during the search")

    async def _search_all(self, stream: str) -> None:
        """One search after the other, each for those that wait when it begins."""
        try:
            await asyncio.sleep(self._gather_seconds)
            while seekers := [seeker for seeker in self._waiting.pop(stream, []) if not seeker.gone]:
                try:
                    await self._search(seekers)
                    end: BaseException | None = None
                except Exception as error:  # noqa: BLE001  # what it means is for each of them to find out
                    end = error
                for seeker in seekers:
                    await self._give(seeker, end)
        finally:
            del self._searches[stream]

    async def _search(self, seekers: Sequence[_Seeker]) -> None:
        first = seekers[0]
        by_partition = {seeker.lease.partition: seeker for seeker in seekers}
        async with self._losses.as_new_as([seeker.session for seeker in seekers]) as session:
            async for sent, entries in self._checkpoints.scan(first.lease.partition, first.lease.token, first.opened):
                partitions = await self._losses.partitions_of([message.id for message in sent], session)
                for partition, found in _by_partition(sent, partitions).items():
                    if seeker := by_partition.get(partition):
                        await self._give(seeker, (found, entries))
                if all(seeker.gone for seeker in seekers):
                    return

    async def _give(self, seeker: _Seeker, page: Page | BaseException | None) -> None:
        if not seeker.gone:
            await seeker.pages.put(page)


def _by_partition(sent: Sequence[Sent], partitions: dict[ObjectId, Partition]) -> dict[Partition, list[Sent]]:
    found: defaultdict[Partition, list[Sent]] = defaultdict(list)
    for message in sent:
        if partition := partitions.get(message.id):
            found[partition].append(message)
    return found

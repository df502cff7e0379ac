"""A relay that drains when it is asked to, and does nothing by itself: for tests."""

from __future__ import annotations

from collections.abc import Iterable

from pymongo import AsyncMongoClient

from outbox.database import Database, Document
from outbox.errors import Owner
from outbox.protocol.checkpoint import Checkpoints
from outbox.protocol.leases import Leases
from outbox.protocol.losses import Losses
from outbox.protocol.store import Store
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Partition, Streams
from outbox_relay.drained import Outcome
from outbox_relay.drainer import Drainer
from outbox_relay.recovery import Recovery
from outbox_relay.settings import RelaySettings

LEASE_SECONDS = 24 * 3600.0


class RelayByHand:
    """Takes the lease of each partition that it drains, and keeps it: there must be no other relay."""

    def __init__(
        self, client: AsyncMongoClient[Document], database: Database, redis: AnyRedis, streams: Streams, ours: Owner
    ) -> None:
        self._client = client
        self._store = Store(database)
        self._leases = Leases(database, streams, "by hand", seconds=LEASE_SECONDS)
        self._checkpoints = Checkpoints(redis, streams, ours, bounded=False)
        losses = Losses(database, streams)
        # One partition is drained after the other: there are none to wait for.
        self._recovery = Recovery(database, self._store, losses, self._checkpoints, self._leases, gather_seconds=0)
        self._settings = RelaySettings()
        self._drainers: dict[Partition, Drainer] = {}

    async def drain(self, partitions: Iterable[Partition]) -> int:
        """Publish what is pending in `partitions`; returns how many messages that were.

        Raises what the servers raise: nothing is tried again by itself.
        """
        return sum([await self._drain(partition) for partition in partitions])

    async def _drain(self, partition: Partition) -> int:
        drainer = self._drainers.get(partition) or await self._take(partition)
        published = 0
        while True:
            drained = await drainer.run_once()
            published += drained.published
            if drained.outcome not in (Outcome.MORE, Outcome.REFUSED):
                return published

    async def _take(self, partition: Partition) -> Drainer:
        lease = await self._leases.acquire(partition)
        assert lease, f"another relay has {partition}"
        self._drainers[partition] = Drainer(
            lease,
            lambda: True,
            self._client,
            self._store,
            self._checkpoints,
            self._leases,
            self._recovery,
            self._settings,
        )
        return self._drainers[partition]

    async def forget(self) -> None:
        """Forget all leases, after both servers were emptied, or at the end."""
        for drainer in self._drainers.values():
            await drainer.close()
        self._drainers.clear()

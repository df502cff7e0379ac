"""Backlog: how much waits in MongoDB and in Redis, for metrics, their alerts, and autoscaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from outbox.database import Database
from outbox.delivery import groups
from outbox.operations import stats
from outbox.operations.stats import Waiting
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Streams
from outbox_relay.service import Next

LOOK_SECONDS = 15.0
"""Metrics are seldom fetched more often."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What waits now, in all partitions: every relay measures the same.

    `undelivered`: entries that no worker has been given yet, by stream, as far as it is known; 0 while it is paused.
    """

    waiting: Waiting
    undelivered: Mapping[str, int] = field(default_factory=dict)

    @property
    def next(self) -> Next:
        return Next.WAIT


class Backlog:
    """Counts what waits, now and then. It reads indexes only, each up to a limit, however much there is."""

    def __init__(
        self, database: Database, redis: AnyRedis, streams: Streams, registered: Streams | None = None
    ) -> None:
        """:param registered: also the streams that other relays drain, which may be paused; None: there are none."""
        self._database = database
        self._redis = redis
        self._streams = streams
        self._registered = registered if registered is not None else streams

    async def run_once(self) -> Measured:
        streams = list(self._streams.values())  # as they are now: one may be removed meanwhile
        undelivered = await groups.undelivered(self._redis, self._streams)
        # More workers would find nothing to do in a stream that is paused.
        pauses = self._streams.pauses
        paused = {one.name: 0 for one in streams if one.name in undelivered and pauses.of(one)}
        return Measured(await stats.waiting(self._database, self._registered), {**undelivered, **paused})

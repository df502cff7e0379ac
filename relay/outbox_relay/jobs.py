"""Timed jobs of the relay: prune what is old, record the history."""

from __future__ import annotations

from datetime import timedelta

from outbox.database import Database
from outbox.message import uniques
from outbox.operations import history, upkeep
from outbox.servers.timed_jobs import Jobs
from outbox.servers.topology import AnyRedis
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Streams
from outbox_relay.settings import RelaySettings

HISTORY_SECONDS = 25
"""So that no minute is left out, whatever the jitter; a look at one that is on record costs two reads."""


def add_all(
    jobs: Jobs,
    database: Database,
    redis: AnyRedis,
    streams: Streams,
    outbox_settings: OutboxSettings,
    settings: RelaySettings,
) -> None:
    retention = timedelta(days=outbox_settings.outbox_retention_days)
    jobs.add("bury strays", lambda: upkeep.bury_strays(database), seconds=60)
    jobs.add("record history", lambda: _quietly(database, redis), seconds=HISTORY_SECONDS)
    jobs.add("forget unique values", lambda: uniques.prune(database), seconds=settings.relay_prune_seconds)
    jobs.add(
        "prune old messages",
        lambda: upkeep.prune(database, streams, older_than=retention),
        seconds=settings.relay_prune_seconds,
    )


async def _quietly(database: Database, redis: AnyRedis) -> int:
    """Without a line in the log for each minute."""
    await history.record(database, redis)
    return 0

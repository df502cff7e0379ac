"""Timed jobs of the relay: stage what is due, prune what is old."""

from __future__ import annotations

from datetime import timedelta

from outbox.database import Database
from outbox.operations import upkeep
from outbox.servers.timed_jobs import Jobs
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Streams
from outbox_relay.settings import RelaySettings


def add_all(
    jobs: Jobs, database: Database, streams: Streams, outbox_settings: OutboxSettings, settings: RelaySettings
) -> None:
    retention = timedelta(days=outbox_settings.outbox_retention_days)
    jobs.add("stage due messages", lambda: upkeep.stage(database), seconds=settings.relay_stage_seconds)
    jobs.add("bury strays", lambda: upkeep.bury_strays(database), seconds=60)
    jobs.add(
        "prune old messages",
        lambda: upkeep.prune(database, streams, older_than=retention),
        seconds=settings.relay_prune_seconds,
    )

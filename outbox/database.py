"""The outbox's database: the names of its collections, and the type that every statement takes."""

from __future__ import annotations

from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

OUTBOX = "outbox"
META = "outbox_meta"
PARTITIONS = "outbox_partitions"
RELAYS = "outbox_relays"
RECOVERIES = "outbox_recoveries"
OUTAGES = "outbox_outages"
JOBS = "outbox_jobs"
AUDIT = "outbox_audit"
LOGOUTS = "outbox_logouts"
REFUSALS = "outbox_refusals"
FILES = "files"
IDEMPOTENCY = "idempotency_keys"
CONTENTS = "fs"
"""The GridFS bucket of file contents."""

Document = dict[str, Any]
Database = AsyncDatabase[Document]

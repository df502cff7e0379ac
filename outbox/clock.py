"""The database server's clock, against which ages and cut-offs are counted: the caller's own may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime

from outbox.schema import Database


async def server_time(database: Database) -> datetime:
    """What time it is at the primary, in milliseconds, aware."""
    now: datetime = (await database.command("hello"))["localTime"]
    return now if now.tzinfo else now.replace(tzinfo=UTC)

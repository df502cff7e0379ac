"""The database server's clock, against which ages and cut-offs are counted: the caller's own may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime

from outbox.schema import Database


async def server_time(database: Database) -> datetime:
    """What time it is at the primary, in milliseconds, aware."""
    now: datetime = (await database.command("hello"))["localTime"]
    return now if now.tzinfo else now.replace(tzinfo=UTC)


def as_text(moment: datetime) -> str:
    """A moment as everything here writes it: ISO 8601, in UTC, in milliseconds. A naive one is taken to be in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Times: the database server's clock, and how a time is read and written.

Ages and cut-offs are counted by the server's clock: the caller's own may be wrong.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bson import ObjectId

from outbox.database import Database
from outbox.errors import UsageError

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing was appended before; a time that is earlier is a mistake, such as a variable that was never set."""

_ISO_8601 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})", re.IGNORECASE
)


async def server_time(database: Database) -> datetime:
    """What time it is at the primary, in milliseconds, aware."""
    now: datetime = (await database.command("hello"))["localTime"]
    return now if now.tzinfo else now.replace(tzinfo=UTC)


def as_text(moment: datetime) -> str:
    """A moment as everything here writes it: ISO 8601, in UTC, in milliseconds. A naive one is taken to be in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """The moment that `text` names, in UTC: a date, a time of day and a zone in ISO 8601. Raises UsageError.

    Nothing is guessed: a number could be seconds, milliseconds or a year.
    """
    try:
        if _ISO_8601.fullmatch(text):
            return in_range(datetime.fromisoformat(text.upper()))
    except ValueError:
        pass  # such as the 30th of February
    raise UsageError(f"{text!r:.60} is not a time in ISO 8601 with its zone, such as 2026-01-31T14:00:00Z")


def in_range(moment: datetime) -> datetime:
    """The same moment in UTC. Raises UsageError when it is before 1970, or beyond what MongoDB and Python can hold."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or utc < EARLIEST:
        raise UsageError(f"{moment.isoformat()} is out of range: a time is from 1970 to 9999, in UTC")
    return utc


def id_at(moment: datetime) -> ObjectId:
    """The first ObjectId of that moment; the least or the greatest there is when ids cannot hold it."""
    seconds = int(moment.timestamp())
    if seconds < 0:
        return ObjectId(bytes(12))
    return ObjectId(seconds.to_bytes(4, "big") + bytes(8)) if seconds < 2**32 else ObjectId(b"\xff" * 12)

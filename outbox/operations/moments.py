"""Points in time as people type them: ISO 8601, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from outbox.errors import UsageError
from outbox.servers.clock import in_range

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.IGNORECASE)

FORMS = "2h, 30m, 1d, 1d12h (ago), now, 2026-01-31, 2026-01-31T14:00 (UTC), 2026-01-31T14:00+02:00"


def read(text: str) -> datetime:
    """The moment that `text` means now, aware, in UTC. Raises UsageError, which says what can be typed."""
    return in_range(read_at(text, datetime.now(UTC)))


def read_at(text: str, now: datetime) -> datetime:
    wanted = text.strip().removesuffix(" ago").replace(" ", "T" if "-" in text else "")
    if wanted.lower() == "now":
        return now
    try:
        if _AGO.fullmatch(wanted):
            parts = {_UNITS[unit.lower()]: float(number) for number, unit in _PART.findall(wanted)}
            return now - timedelta(**parts)
        moment = datetime.fromisoformat(wanted)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a time; it can be: {FORMS}") from None


def show(moment: datetime | None) -> str:
    """A moment as tables show it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if moment else ""


def show_seconds(seconds: float | None) -> str:
    """A length of time for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `5 d 3 h`. None is empty."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for size, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")
    raise AssertionError("unreachable: sixty seconds and more are a minute")

"""The last 24 hours: the history as points of a plot, its totals, and when servers were away."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from outbox.operations.downtime import Downtime
from outbox.operations.history import KEPT, Minute
from outbox.operations.recoveries import Recovery

SECONDS = 300
"""Of one point."""

APART = timedelta(minutes=3)
"""Minutes that are further apart say nothing about what was in between."""

Point = tuple[float, float | None, float | None, int | None, float | None, float | None, float | None]
"""Time, messages in and out a second, pending, seconds of the oldest, median and longest delay in milliseconds; None:
not known."""


@dataclass(frozen=True, slots=True)
class Day:
    """`points`: one for each five minutes, also where nothing is known. `since`: of the first minute on record.

    `outages` and `recoveries`: those of the last 24 hours, the newest first.
    """

    points: tuple[Point, ...] = ()
    since: datetime | None = None
    appended: int = 0
    published: int = 0
    most_pending: int = 0
    longest: float = 0.0
    outages: tuple[Downtime, ...] = ()
    recoveries: tuple[Recovery, ...] = ()

    @property
    def away(self) -> float:
        """Seconds in which a server did not answer."""
        ended = [outage for outage in self.outages if outage.until]
        return sum((outage.until - outage.since).total_seconds() for outage in ended if outage.until)

    def as_json(self) -> dict[str, Any]:
        """What a plot needs."""
        return {
            "points": list(self.points),
            "away": [[_time(o.since), _time(o.until) if o.until else None, o.server] for o in self.outages],
            "lost": [_time(recovery.at) for recovery in self.recoveries],
        }


def summarise(
    minutes: Sequence[Minute], outages: Iterable[Downtime], recoveries: Iterable[Recovery], now: datetime
) -> Day:
    """The day until `now`."""
    since = now - KEPT
    rates = list(_rates(minutes))
    return Day(
        tuple(_points(rates)),
        minutes[0].at if minutes else None,
        sum(minute.appended for minute in minutes),
        round(sum(out * seconds for _, out, seconds in rates if out is not None)),
        max((minute.pending for minute in minutes), default=0),
        max((minute.longest for minute in minutes if minute.longest is not None), default=0.0),
        tuple(outage for outage in outages if outage.until is None or outage.until > since),
        tuple(recovery for recovery in recoveries if recovery.at > since),
    )


_Rated = tuple[Minute, float | None, float]


def _rates(minutes: Sequence[Minute]) -> Iterator[_Rated]:
    """Each minute, the entries a second that were added since the one before, and how many seconds that was."""
    if minutes:
        yield minutes[0], None, 0.0
    for before, minute in pairwise(minutes):
        seconds = (minute.at - before.at).total_seconds()
        known = before.added is not None and minute.added is not None and minute.added >= before.added
        if known and 0 < seconds <= APART.total_seconds():
            assert before.added is not None
            assert minute.added is not None
            yield minute, (minute.added - before.added) / seconds, seconds
        else:
            yield minute, None, seconds


def _points(rates: Sequence[_Rated]) -> Iterator[Point]:
    by_time: dict[int, list[_Rated]] = {}
    for rated in rates:
        by_time.setdefault(int(_time(rated[0].at)) // SECONDS, []).append(rated)
    if not by_time:
        return
    for number in range(min(by_time), max(by_time) + 1):
        of_point = by_time.get(number)
        yield _point(number * SECONDS, of_point) if of_point else (number * SECONDS, *[None] * 6)  # type: ignore[misc]


def _point(at: int, rates: Sequence[_Rated]) -> Point:
    minutes = [minute for minute, _, _ in rates]
    out = [rate for _, rate, _ in rates if rate is not None]
    medians = [minute.median * 1000 for minute in minutes if minute.median is not None]
    longest = [minute.longest * 1000 for minute in minutes if minute.longest is not None]
    return (
        at,
        round(sum(minute.appended for minute in minutes) / (60 * len(minutes)), 2),
        round(statistics.mean(out), 2) if out else None,
        max(minute.pending for minute in minutes),
        max(minute.oldest for minute in minutes),
        round(statistics.median(medians), 1) if medians else None,
        round(max(longest), 1) if longest else None,
    )


def _time(moment: datetime) -> float:
    return round(moment.timestamp(), 1)

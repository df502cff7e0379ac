"""Several runs seen as one: the median of each figure, and how far the runs lie apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from outbox.bench.result import Figure, Limit, Run


@dataclass(frozen=True, slots=True)
class Row:
    """A figure with the medians of values and limits; lowest and highest value of the runs."""

    figure: Figure
    lowest: float
    highest: float


def summarized(runs: list[Run]) -> list[Row]:
    """The figures in the order in which they were measured first."""
    same: defaultdict[tuple[str, str], list[Figure]] = defaultdict(list)
    for run in runs:
        for figure in run.figures:
            same[figure.measurement, figure.name].append(figure)
    return [_row(figures) for figures in same.values()]


def _row(figures: list[Figure]) -> Row:
    limits: defaultdict[str, list[float]] = defaultdict(list)
    for figure in figures:
        for limit in figure.limits:
            limits[limit.name].append(limit.value)
    values = [figure.value for figure in figures]
    beside = tuple(Limit(name, median(of_all)) for name, of_all in limits.items())
    first = figures[0]
    return Row(Figure(first.measurement, first.name, median(values), first.unit, beside), min(values), max(values))


def number(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 123, 12,300."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = 10 ** max(0, len(str(int(abs(value)))) - 3)
        return f"{round(value / digits) * digits:,}"
    return f"{value:.3g}"

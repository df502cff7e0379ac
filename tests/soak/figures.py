"""What must not grow: looked at again and again, and compared by quarters of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Sample = Mapping[str, float]
"""Figures by their names, at one time."""


@dataclass(frozen=True)
class Kind:
    """A figure: how much more it may be in the last quarter than in the second one. In the first, all grows."""

    unit: str
    slack: float
    part: float = 0.1


KINDS = {
    "memory of the relay": Kind("MB", 3),
    "memory of the worker": Kind("MB", 3),
    "open files of the relay": Kind("", 4),
    "open files of the worker": Kind("", 4),
    "connections to MongoDB": Kind("", 10),
    "connections to Redis": Kind("", 10),
    "memory of Redis": Kind("MB", 2),
    "keys in Redis": Kind("", 5),
    "entries in the stream": Kind("", 500, 0.25),
    "messages": Kind("", 1000, 0.25),
    "indexes of messages": Kind("MB", 2, 0.25),
    "all other collections, with indexes": Kind("MB", 1, 0.25),
    "time until published, median": Kind("ms", 10, 0.5),
}


def quarters(samples: Sequence[Sample]) -> list[dict[str, float]]:
    """The median of each figure in each quarter of the run; none when it has ended too soon to have quarters."""
    if len(samples) < 4:
        return []
    size = len(samples) / 4
    parts = [samples[round(n * size) : round((n + 1) * size)] for n in range(4)]
    return [{name: median(sample[name] for sample in part) for name in samples[0]} for part in parts]


def grown(samples: Sequence[Sample]) -> list[str]:
    """Each figure that is more in the last quarter than in the second one, beyond what chance does."""
    if not (found := quarters(samples)):
        return ["there are too few samples to tell whether something grows"]
    _, second, _, last = found
    return [
        f"{name}: from {_shown(second[name], kind)} in the second quarter to {_shown(last[name], kind)} in the last one"
        for name, kind in KINDS.items()
        if last[name] > second[name] * (1 + kind.part) + kind.slack
    ]


def table(samples: Sequence[Sample]) -> str:
    """In Markdown, a row for each figure."""
    rows = ["| | 1st quarter | 2nd | 3rd | 4th |", "|---|---:|---:|---:|---:|"]
    found = quarters(samples)
    for name, kind in KINDS.items():
        rows.append(f"| {name} | {' | '.join(_shown(quarter[name], kind) for quarter in found)} |")
    return "\n".join(rows)


def _shown(value: float, kind: Kind) -> str:
    digits = 1 if kind.unit else 0
    return f"{value:,.{digits}f} {kind.unit}".strip()

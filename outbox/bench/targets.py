"""What the figures are meant to reach: ratios in one run, which hold on any machine, and a few values."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from outbox.bench.bare import MARKED, UNMARKED
from outbox.bench.result import Figure, Run


@dataclass(frozen=True, slots=True)
class Target:
    """`text` says it. It is about the figures of `measurement` whose names begin with the words of `name`: the worst of
    them counts, or with `last` the last one.

    With `against`, it is their part of the limit of that name (of the only one, if it is ""); otherwise their value.
    """

    text: str
    measurement: str
    name: str
    wanted: float
    at_least: bool
    against: str | None = None
    last: bool = False

    def value(self, run: Run) -> float | None:
        """None: it was not measured."""
        values = [value for figure in run.figures if self.about(figure) and (value := self._of(figure)) is not None]
        if self.last:
            return values[-1] if values else None
        return (min if self.at_least else max)(values) if values else None

    def about(self, figure: Figure) -> bool:
        words = self.name and f"{self.name} "  # whole ones: p99 is not p99.9
        return figure.measurement == self.measurement and f"{figure.name} ".startswith(words)

    def met(self, value: float) -> bool:
        return value >= self.wanted if self.at_least else value <= self.wanted

    def _of(self, figure: Figure) -> float | None:
        if self.against is None:
            return figure.value
        return figure.ratio(self.against or next((limit.name for limit in figure.limits), ""))


TARGETS = (
    Target("drain ≥ 0.8 × bare update_many", "drain", "one relay", 0.8, True, "bare update_many"),
    Target("drain ≥ 30 × the naive relay", "drain", "one relay", 30, True, "naive relay"),
    Target("two relays never slower than one", "drain", "two relays", 1, True, "one relay"),
    Target("latency at 100/s: p50 ≤ 1.5 × bare", "latency", "100/s p50", 1.5, False, ""),
    Target("latency at 100/s: p99 ≤ 25 ms", "latency", "100/s p99", 25, False),
    Target("flow at 100/s: p50 ≤ 1.3 × the bare loop", "flow", "100/s p50", 1.3, False, UNMARKED),
    Target("flow at 100/s: CPU ≤ 1.0 × the loop with marks", "flow", "100/s CPU in all", 1, False, MARKED),
    Target("flow at 300/s: p50 ≤ 2 × the bare loop", "flow", "300/s p50", 2, False, UNMARKED),
    Target("flow at 300/s: p99 ≤ 3 × the bare loop", "flow", "300/s p99", 3, False, UNMARKED),
    Target("flow at 300/s: CPU ≤ 0.7 × the loop with marks", "flow", "300/s CPU in all", 0.7, False, MARKED),
    Target("flow at 500/s: p50 ≤ 5 ms", "flow", "500/s p50", 5, False),
    Target("highest rate ≥ 0.85 × the bare loop's", "flow", "highest rate kept up", 0.85, True, UNMARKED),
    Target("append costs ≤ 20 % of transactions/s", "append", "", 0.8, True, "without append"),
    Target("outbox costs ≤ 15 % of uploads/s", "upload", "", 0.85, True, ""),
    Target("one worker ≥ 0.8 × bare transactions", "worker", "one transaction each", 0.8, True, ""),
    Target("its batch handler ≥ 5 × bare transactions", "worker", "batch handler", 5, True, ""),
    Target("entry to handler at 100/s: p50 ≤ 3 ms", "worker", "entry to handler at 100/s p50", 3, False),
    Target("first entry ≤ 0.5 s after Redis's return", "recover", "Redis returns: first", 0.5, False),
    Target("a loss noticed within 2 s while idle", "recover", "all lost: noticed while idle", 2, False),
    Target("a loss noticed within 1 s under load", "recover", "all lost: noticed while published", 1, False),
    Target("lost messages back at ≥ 0.5 of the drain's rate", "recover", "all lost: back", 0.5, True, "drain"),
    Target("64 KB: drain ≥ 0.5 × bare XADD", "large", "64,000", 0.5, True, "bare XADD"),
    Target("several relays never slower than one", "relays", "", 1, True, "one relay"),
    Target("drain with most retained ≥ 0.9 of that with fewest", "scale", "retained", 0.9, True, "fewest", last=True),
    Target("RSS ≤ 100 MB over the long drain", "memory", "peak RSS", 100, False),
    Target("RSS flat: peak ≤ 1.1 × after a tenth", "memory", "peak RSS", 1.1, False, ""),
    Target("idle: ≤ 0.4 % CPU", "idle", "CPU", 0.4, False),
    Target("idle: ≤ 10 commands/s", "idle", "commands in all", 10, False),
)


@dataclass(frozen=True, slots=True)
class Reached:
    """A target over several runs: the median of its value, the lowest and the highest."""

    target: Target
    value: float
    lowest: float
    highest: float

    @property
    def met(self) -> bool:
        return self.target.met(self.value)


def reached(runs: list[Run]) -> list[Reached]:
    """All targets of which anything was measured."""
    found = []
    for target in TARGETS:
        values = [value for run in runs if (value := target.value(run)) is not None]
        if values:
            found.append(Reached(target, median(values), min(values), max(values)))
    return found

"""What a run of the bench found: figures, each beside its limits, and where they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure stands beside: the same of something else, measured in the same run."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value."""

    measurement: str
    name: str
    value: float
    unit: str
    limits: tuple[Limit, ...] = ()

    def ratio(self, limit: str) -> float | None:
        """The value as a part of the limit of that name; None: it does not stand beside it."""
        return next(
            (self.value / beside.value for beside in self.limits if beside.name == limit and beside.value), None
        )


@dataclass(frozen=True, slots=True)
class Run:
    """All figures of one run, and what one has to know to repeat it. `skipped` tells what was not measured, and why."""

    command: str
    at: str
    seconds: float
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    figures: tuple[Figure, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """The reverse of `as_json`. KeyError or TypeError when `value` is something else."""
        figures = tuple(
            Figure(**{**figure, "limits": tuple(Limit(**limit) for limit in figure["limits"])})
            for figure in value["figures"]
        )
        names = ("command", "at", "seconds", "machine", "versions", "skipped")
        return cls(figures=figures, **{name: value[name] for name in names})

"""A run, or the medians of several, as Markdown for a README."""

from __future__ import annotations

from outbox.bench.result import Run
from outbox.bench.summary import Row, number, summarized
from outbox.bench.targets import Reached, reached


def markdown(runs: list[Run]) -> str:
    """Two tables with what one has to know to repeat them. Of several runs, lowest and highest stand in brackets."""
    first, several = runs[0], len(runs) > 1
    about = "; ".join([*first.machine.values(), *(f"{name} {version}" for name, version in first.versions.items())])
    how = f"Medians of {len(runs)} runs of" if several else "One run of"
    lines = [f"{how} `{first.command}`, {first.at[:10]}: {about}.", ""]
    lines += ["| target | reached | |", "|---|---|---|"]
    lines += [_target(one, several) for one in reached(runs)]
    lines += ["", "| | figure | | beside it, in the same run |", "|---|---|---|---|"]
    lines += [_figure(row, several) for row in summarized(runs)]
    return "\n".join(lines) + "\n"


def _target(one: Reached, several: bool) -> str:
    spread = f" ({number(one.lowest)}–{number(one.highest)})" if several else ""
    return f"| {one.target.text} | {number(one.value)}{spread} | {'met' if one.met else '**not met**'} |"


def _figure(row: Row, several: bool) -> str:
    figure = row.figure
    spread = f" ({number(row.lowest)}–{number(row.highest)})" if several else ""
    beside = ", ".join(f"{limit.name} {number(limit.value)}" for limit in figure.limits)
    return f"| {figure.measurement} | {figure.name} | {number(figure.value)} {figure.unit}{spread} | {beside} |"

"""A run, or the medians of several, as Markdown for a README: the figures that have a target, beside their limits."""

from __future__ import annotations

from outbox.bench.result import Run
from outbox.bench.summary import Row, number, summarized
from outbox.bench.targets import Reached, Target, reached


def markdown(runs: list[Run]) -> str:
    """One table, and what one has to know to repeat it. Of several runs, lowest and highest stand in brackets."""
    first, several = runs[0], len(runs) > 1
    about = "; ".join([*first.machine.values(), *(f"{name} {version}" for name, version in first.versions.items())])
    how = f"Medians of {len(runs)} runs of" if several else "One run of"
    lines = [f"{how} `{first.command}`, {first.at[:10]}: {about}.", ""]
    lines += ["| | figure | beside it, in the same run | target | |", "|---|---|---|---|---|"]
    rows, told = summarized(runs), reached(runs)
    for row in rows:
        if about_it := [one for one in told if _counts(row, one.target, rows)]:
            lines.append(_line(row, about_it, several))
    return "\n".join(lines) + "\n"


def _counts(row: Row, target: Target, rows: list[Row]) -> bool:
    about = [other for other in rows if target.about(other.figure)]
    return any(row is other for other in (about[-1:] if target.last else about))


def _line(row: Row, targets: list[Reached], several: bool) -> str:
    figure = row.figure
    spread = f" ({number(row.lowest)}–{number(row.highest)})" if several else ""
    beside = ", ".join(f"{limit.name} {number(limit.value)}" for limit in figure.limits)
    wanted = "; ".join(one.target.text for one in targets)
    met = "; ".join(f"{number(one.value)}: {'met' if one.met else '**not met**'}" for one in targets)
    value = f"{number(figure.value)} {figure.unit}{spread}"
    return f"| {figure.measurement}, {figure.name} | {value} | {beside} | {wanted} | {met} |"

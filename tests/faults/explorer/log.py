"""The log of seeds: a line of JSON for each, and what all of them together come to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.explorer.run import Exploration

Line = dict[str, Any]


def write(log: Path, result: Exploration) -> None:
    line = vars(result) | {"evidence": str(result.evidence) if result.evidence else None}
    with log.open("a") as opened:
        opened.write(json.dumps(line) + "\n")


def read(log: Path) -> list[Line]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def summary(lines: Sequence[Line]) -> str:
    """In Markdown: a table by server, then the faults, then the seeds."""
    rows = [
        "| servers | seeds | minutes | appends | of them in doubt or failed | faults | violations |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for servers in sorted({line["servers"] for line in lines}):
        rows.append(_row(servers, [line for line in lines if line["servers"] == servers]))
    rows.append(_row("together", lines))
    faults: Counter[str] = Counter()
    for line in lines:
        faults.update(line["faults"])
    counts = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()) if count)
    days = sorted({line["day"] for line in lines})
    seeds = ", ".join(str(line["seed"]) for line in lines)
    when = f"From {days[0]} to {days[-1]}:" if len(days) > 1 else f"On {days[0]}:"
    return "\n".join([when, "", *rows, "", f"Faults: {counts}.", "", f"Seeds: {seeds}."])


def _row(name: str, lines: Sequence[Line]) -> str:
    done: Counter[str] = Counter()
    for line in lines:
        done.update(line["done"])
    cells = [
        name,
        len(lines),
        round(sum(line["seconds"] for line in lines) / 60),
        f"{done['appends'] + done['appends in doubt or failed']:,}",
        f"{done['appends in doubt or failed']:,}",
        f"{sum(sum(line['faults'].values()) for line in lines):,}",
        sum(line["violation"] is not None for line in lines),
    ]
    return f"| {' | '.join(map(str, cells))} |"

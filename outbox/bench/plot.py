"""One picture of a run, as PNG or SVG. Needs matplotlib, of the extra `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from outbox.bench.result import Run
from outbox.bench.summary import Row, number, summarized
from outbox.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, BESIDE = "#0b7285", "#ced4da"
FORMATS = (".png", ".svg")


def check(path: Path) -> None:
    """Before anything is measured: raise UsageError unless a picture can be written to `path`."""
    if path.suffix not in FORMATS:
        raise UsageError(f"--plot {path}: the name must end in {' or '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.absolute().parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'outbox-relay[bench]'") from None


def plot(runs: list[Run], path: Path) -> None:
    """Write the picture: drain, latency and flow beside their limits, and the drain rate against what grows."""
    from matplotlib.figure import Figure as Picture

    rows = summarized(runs)
    measured = {row.figure.measurement for row in rows}
    panels = [(name, draw) for name, draw in _PANELS.items() if name in measured]
    picture = Picture(figsize=(4.6 * max(1, len(panels)), 4), layout="constrained")
    axes = picture.subplots(1, max(1, len(panels)), squeeze=False)[0]
    for (name, draw), ax in zip(panels, axes, strict=False):
        draw(ax, [row for row in rows if row.figure.measurement == name])
        ax.spines[["top", "right"]].set_visible(False)
    first = runs[0]
    about = ", ".join([*first.machine.values(), *(f"{name} {version}" for name, version in first.versions.items())])
    picture.suptitle(f"outbox bench · {about}", fontsize=8, color="#495057")
    picture.savefig(path, dpi=150)


def _drain(ax: Axes, rows: list[Row]) -> None:
    ours = [(row.figure.name, row.figure.value, OURS) for row in rows]
    own = {row.figure.name for row in rows}
    limits = [(limit.name, limit.value, BESIDE) for limit in rows[-1].figure.limits if limit.name not in own]
    names, values, colours = zip(*reversed(ours + limits), strict=True)
    bars = ax.barh(names, values, color=colours)
    ax.bar_label(bars, [number(value) for value in values], padding=3, fontsize=8)
    ax.set_title("drain, messages/s")
    ax.margins(x=0.18)


def _latency(ax: Axes, rows: list[Row]) -> None:
    rows = [row for row in rows if row.figure.limits]
    for shift, colour, values, name in (
        (-0.2, OURS, [row.figure.value for row in rows], "outbox"),
        (0.2, BESIDE, [row.figure.limits[0].value for row in rows], rows[0].figure.limits[0].name),
    ):
        bars = ax.bar([n + shift for n in range(len(rows))], values, 0.4, color=colour, label=name)
        ax.bar_label(bars, [number(value) for value in values], padding=2, fontsize=6)
    ax.set_xticks(range(len(rows)), [row.figure.name for row in rows], rotation=45, ha="right", fontsize=8)
    ax.set_yscale("log")
    ax.set_title("append to worker, ms")
    ax.legend(frameon=False, fontsize=8)


def _scale(ax: Axes, rows: list[Row]) -> None:
    for what, marker in (("retained", "o"), ("pending", "s")):
        points = [row for row in rows if row.figure.name.startswith(f"{what} ")]
        if points:
            sizes = [int(row.figure.name.split()[-1].replace(",", "")) for row in points]
            ax.plot(sizes, [row.figure.value for row in points], marker=marker, label=f"messages {what}")
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.set_title("drain, by messages in MongoDB")
    ax.legend(frameon=False, fontsize=8)


def _flow(ax: Axes, rows: list[Row]) -> None:
    costs = [row.figure for row in rows if row.figure.name.endswith("CPU in all")]
    names = [limit.name for limit in costs[0].limits]
    groups = [("outbox", OURS, [figure.value for figure in costs])]
    for name, colour in zip(names, (BESIDE, "#868e96"), strict=False):
        values = [next((limit.value for limit in figure.limits if limit.name == name), 0.0) for figure in costs]
        groups.append((name, colour, values))
    for shift, (name, colour, values) in zip((-0.27, 0, 0.27), groups, strict=False):
        bars = ax.bar([n + shift for n in range(len(costs))], values, 0.27, color=colour, label=name)
        ax.bar_label(bars, [number(value) for value in values], padding=2, fontsize=6)
    ax.set_xticks(range(len(costs)), [figure.name.removesuffix(" CPU in all") for figure in costs], fontsize=8)
    ax.set_title("CPU beyond the append, ms/message")
    ax.legend(frameon=False, fontsize=8)


_PANELS = {"drain": _drain, "latency": _latency, "flow": _flow, "scale": _scale}

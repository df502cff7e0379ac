"""`outbox bench`: how fast it is on this machine, or on the servers that you have."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from outbox import logs
from outbox.bench import plot as pictures
from outbox.bench.bench import MEASUREMENTS, run
from outbox.bench.extent import FULL, QUICK
from outbox.bench.markdown import markdown as as_markdown
from outbox.bench.result import Run
from outbox.bench.summary import number, summarized
from outbox.bench.targets import reached
from outbox.cli.output import write_json, write_line, write_note, write_table
from outbox.errors import UsageError
from outbox.settings import OutboxSettings, load


def bench(
    measurements: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(MEASUREMENTS)}. All without.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three minutes or so; rougher.")] = False,
    messages: Annotated[int | None, typer.Option(min=1000, help="The backlog of `drain` and `recover`.")] = None,
    mongodb_uri: Annotated[str | None, typer.Option(help="Your MongoDB, instead of an embedded one.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Your Redis, instead of an embedded one.")] = None,
    from_files: Annotated[
        list[Path] | None, typer.Option("--from", help="Measure nothing: show results of --json. Several: medians.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture too: a name that ends in .png or .svg.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown.")] = False,
) -> None:
    """Measure how fast messages move, each figure beside what the servers themselves allow.

    On embedded servers, or on your own: there in a database and under Redis keys of its own, which it removes. Servers
    that are in use are slowed down meanwhile.

    Targets that are not met are shown, and are no error: exit code 0.

    Examples:

        outbox bench                                 all of it, 10 to 15 minutes

        outbox bench --quick drain latency

        outbox bench --mongodb-uri mongodb://… --redis-url redis://… drain

        outbox bench --json > 1.json                 and, after some more of them:

        outbox bench --from 1.json --from 2.json --plot bench.svg --markdown
    """
    if json and markdown:
        raise UsageError("--json and --markdown cannot be had together")
    if plot:
        pictures.check(plot)
    if from_files:
        if measurements or quick or messages or mongodb_uri or redis_url:
            raise UsageError("--from shows what was measured before: leave out what says how to measure")
        runs = [_read(path) for path in from_files]
    else:
        runs = [_measure(measurements or list(MEASUREMENTS), quick, messages, mongodb_uri, redis_url)]
    if plot:
        pictures.plot(runs, plot)
    if json:
        _write_json(runs)
    elif markdown:
        typer.echo(as_markdown(runs), nl=False)
    else:
        _show(runs)


def _measure(
    names: list[str], quick: bool, messages: int | None, mongodb_uri: str | None, redis_url: str | None
) -> Run:
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise UsageError(f"{unknown[0]!r} is not a measurement: {', '.join(MEASUREMENTS)}")
    extent = QUICK if quick else FULL
    if messages:
        extent = replace(extent, messages=messages)
    # Without the addresses, which may hold a password.
    words = ["outbox bench", *(["--quick"] if quick else []), *([f"--messages {messages}"] if messages else [])]
    words += [] if len(names) == len(MEASUREMENTS) else names
    settings = load(OutboxSettings)
    # The workers that are measured log to stderr, and only what somebody should act on.
    logs.configure(settings.model_copy(update={"outbox_log_level": "WARNING"}))
    with _progress(len(names)) as tell:
        return uvloop.run(
            run(
                settings, extent, names,
                mongodb_uri=mongodb_uri, redis_url=redis_url, command=" ".join(words), tell=tell,
            )
        )  # fmt: skip


class _Told:
    """Shows what is being measured: a bar on a terminal, plain lines on stderr elsewhere."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress = progress
        self._task = progress.add_task("starting servers", total=count)
        self._names: list[str] = []

    def __call__(self, name: str, step: str) -> None:
        if name not in self._names:
            self._names.append(name)
        self._progress.update(self._task, completed=len(self._names) - 1, description=f"{name}: {step}")
        if self._progress.disable:
            write_note(f"{name}: {step}")


@contextmanager
def _progress(count: int) -> Iterator[_Told]:
    console = Console(stderr=True)
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield _Told(progress, count)


def _read(path: Path) -> Run:
    try:
        return Run.read(json_format.loads(path.read_text()))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is not what `outbox bench --json` writes") from None


def _write_json(runs: list[Run]) -> None:
    targets = [
        {"target": one.target.text, "value": one.value, "wanted": one.target.wanted, "met": one.met}
        for one in reached(runs)
    ]
    if len(runs) > 1:
        write_json({"runs": [one.as_json() for one in runs], "targets": targets})
    else:
        write_json({**runs[0].as_json(), "targets": targets})


def _show(runs: list[Run]) -> None:
    several = len(runs) > 1
    rows = [
        [
            row.figure.measurement, row.figure.name, f"{number(row.figure.value)} {row.figure.unit}",
            *([f"{number(row.lowest)} to {number(row.highest)}"] if several else []),
            ", ".join(f"{limit.name} {number(limit.value)}" for limit in row.figure.limits),
        ]
        for row in summarized(runs)
    ]  # fmt: skip
    spread = ["runs"] if several else []
    write_table("Figures", ["measurement", "", "figure", *spread, "beside it, in the same run"], rows)
    write_table(
        "Targets",
        ["target", "reached", ""],
        [[one.target.text, number(one.value), "met" if one.met else "not met"] for one in reached(runs)],
    )
    for name, why in runs[0].skipped.items():
        write_line(f"! {name} was not measured: {why}")
    seconds = sum(one.seconds for one in runs)
    write_line(f"{', '.join([*runs[0].machine.values()])}; {seconds:.0f} s")
    sys.stdout.flush()

"""What commands write: tables on a terminal, plain columns into a pipe, JSON when asked for."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from outbox.errors import UsageError
from outbox.printable import printable
from outbox.servers.waiting import stop_if_cancelled


def write_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def write_line(text: str) -> None:
    typer.echo(printable(text))


def write_note(text: str) -> None:
    """To stderr: what a program that reads stdout should not meet."""
    typer.echo(printable(text), err=True)


def write_more(command: str, before: object, **given: object) -> None:
    """By which command to get the next page: the same one with all that was `given` (None: not), from there on."""
    options = [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]
    write_line(f"There are more: outbox {command} --before {shlex.join([str(before), *options])}")


def write_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table under a title. None is shown as `-`: not known."""
    cells = [["-" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[n], int | float | None) for row in rows) for n in range(len(columns))]
    if sys.stdout.isatty():
        _write_rich(title, columns, cells, numeric)
    else:
        _write_plain(title, columns, cells, numeric)


def _write_rich(title: str, columns: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    table = Table(title=Text(title, "bold"), title_justify="left", header_style="dim")
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(Text(column), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _write_plain(title: str, columns: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    typer.echo(title)
    lines = [list(columns), *cells]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        fitted = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        typer.echo(f"  {'  '.join(fitted)}".rstrip())
    typer.echo()


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless `yes`. A "no" ends the command with exit code 1 and nothing done, Ctrl-C with 130."""
    if yes:
        return
    with _interruptible():
        if not Confirm.ask(Text(printable(question)), console=Console(stderr=True), default=False):
            raise typer.Abort


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is KeyboardInterrupt at once. In an event loop it only cancels the task, which stands in `input()`: the
    question would stay as if nothing had been pressed, and a "yes" be carried out.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield  # ignored, as in the background of a script; or no signal comes here
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def require_answerable(*, yes: bool) -> None:
    """Raise UsageError when a question will come up and nobody is there to answer it."""
    if not yes and not sys.stdin.isatty():
        raise UsageError("this asks before it changes anything, and there is no terminal to ask on: add --yes")


class Advance(Protocol):
    def __call__(self, done: int) -> None: ...


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Advance]:
    """A bar on stderr, when that is a terminal; call what it gives with how much is done so far. None: of how many?"""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)

        def advance(done: int) -> None:
            progress.update(task, completed=done)

        yield advance


@contextmanager
def checking(total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar on stderr, when that is a terminal, that names what is being looked at; a cancelled task ends here."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=total)

        def tell(title: str, done: int) -> None:
            stop_if_cancelled()
            progress.update(task, description=title, completed=done)

        yield tell

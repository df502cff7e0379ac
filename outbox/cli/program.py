"""The program: its commands, loaded when they are asked for, and its exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from outbox.cli import standard_streams
from outbox.cli.extras import MissingExtra, missing
from outbox.cli.failures import BrokenCommand, explain
from outbox.errors import OutboxError, UsageError
from outbox.printable import printable

GROUP = "outbox.commands"
"""Packages register commands under this entry point group: a function, or a typer.Typer with several of them."""

OWN = [
    EntryPoint(name, f"outbox.cli.{target}", GROUP)
    for name, target in {
        "up": "up:up",
        "init": "init:init",
        "worker": "worker:worker",
        "status": "status:status",
        "replay": "replay:replay",
        "jobs": "jobs:app",
        "streams": "streams:app",
        "audit": "audit:audit",
        "verify": "verify:verify",
        "doctor": "doctor:doctor",
        "dead": "dead:app",
        "key": "key:app",
        "bench": "bench:bench",
    }.items()
]


class Commands(TyperGroup):
    """Commands by name, each imported when it is run or its help is shown.

    So `outbox status` does not wait for the API's imports, and one broken package does not break the rest.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        found = {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}
        self._points = {point.name: point for point in OWN} | found
        # By their names only: suggestions for a mistyped one are taken from here.
        self.commands.update(dict.fromkeys(self._points, _unloaded()))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _load(self._points[cmd_name]) if cmd_name in self._points else None


def _load(point: EntryPoint) -> Any:
    try:
        target = point.load()
    except ImportError as error:
        needed = missing(error, point.name) if point in OWN or point.value.startswith("outbox_") else None
        return _refusing(point, needed or _defect(point, error))
    except Exception as error:  # noqa: BLE001 -- whatever a package does when it is imported, told when it is used
        return _refusing(point, _defect(point, error))
    return _command(target, point.name)


def _defect(point: EntryPoint, error: Exception) -> OutboxError:
    return BrokenCommand(f"`outbox {point.name}` ({point.value}) cannot be loaded: {type(error).__name__}: {error}")


def _refusing(point: EntryPoint, reason: OutboxError) -> Any:
    """In the place of a command that cannot be loaded: says why when it is run."""

    def broken() -> None:
        raise reason

    needs = isinstance(reason, MissingExtra)
    broken.__doc__ = "Not installed; run it to see what it needs." if needs else "Cannot be loaded; run it to see why."
    return _command(broken, point.name, ignore_unknown_options=True, allow_extra_args=True)


def _command(target: typer.Typer | Callable[..., Any], name: str, **context: Any) -> Any:
    if isinstance(target, typer.Typer):
        app = target
    else:
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(context_settings={"help_option_names": ["-h", "--help"], **context})(target)
    command = typer.main.get_command(app)
    command.name = name
    for one in (command, *getattr(command, "commands", {}).values()):
        one.help = unwrapped(one.help or "")
    return command


def unwrapped(text: str) -> str:
    """A docstring whose paragraphs are a line each, for a terminal of any width to wrap. What is indented stays."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p.startswith(" ") or "\n " in p else " ".join(p.splitlines()) for p in paragraphs)


def _unloaded() -> Any:
    return None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # they show local variables, and so secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"outbox-relay {version('outbox-relay')}")
        raise typer.Exit


@app.callback()
def outbox(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """A transactional outbox: messages are written to MongoDB in your transaction, and enter their Redis stream once.

    Where the servers are is read from MONGODB_URI, REDIS_HOST, REDIS_PORT, REDIS_PASSWORD or REDIS_URL, and .env.

    Exit codes: 0 done, 1 found or failed, 2 usage, 3 a server cannot be reached.

    First steps:

        outbox up                        everything on this machine, to try it

        outbox status                    what waits, where, since when
    """


def _refuse_unusable(arguments: Sequence[str]) -> None:
    """Nothing that is looked for can have an empty name, or one that is not UTF-8, on which the driver would fail."""
    for argument in arguments:
        # The first =: a value may end with one, as those in Base64 do.
        if not argument or (argument.startswith("--") and argument.find("=") == len(argument) - 1):
            raise UsageError(
                f"{argument or 'an argument'} is empty, perhaps by a variable of the shell that is not set"
            )
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {printable(argument)[:60]} is not UTF-8") from None


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `outbox` with `arguments` (those of the process by default) and exit.

    The only place where an error becomes an exit code and a line on stderr. What is not explained there is a defect,
    and keeps its traceback.
    """
    standard_streams.prepare()
    try:
        _refuse_unusable(sys.argv[1:] if arguments is None else arguments)
        app(args=arguments, prog_name="outbox")
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        with suppress(OSError):  # there may be no room for it either
            typer.secho("error: ", nl=False, err=True, fg="red", bold=True)
            typer.echo(printable(failure.text, keep_lines=True), err=True)
        sys.exit(failure.code)
    finally:
        standard_streams.end()
    sys.exit(0)

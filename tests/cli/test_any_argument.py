"""Whatever is typed behind a command: it ends with one of its exit codes, and with words that can be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from hypothesis import given
from hypothesis import strategies as st

from outbox.cli import program
from tests.cli.conftest import Cli
from tests.strategies import examples, words

UNENDING = {"up", "api", "relay", "worker", "bench"}
"""They run until they are stopped, or measure for minutes: only what they refuse is tried."""
ENDLESS = {"--watch", "-w", "--follow", "--install-completion", "--show-completion"}
RIGHT = ("507f1f77bcf86cd799439011", "file_parsing_queue", "1h", "2026-01-31T14:00+02:00", "5", "published", "k")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    context = typer.Context(command)
    if not hasattr(command, "list_commands"):
        yield path, command.params
        return
    for name in command.list_commands(context):
        yield from commands(command.get_command(context, name), (*path, name))


COMMANDS = dict(commands(typer.main.get_command(program.app)))


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    path = draw(st.sampled_from(sorted(COMMANDS)))
    line, any_text = list(path), words(*RIGHT)
    for option in COMMANDS[path]:
        if not option.opts[0].startswith("-"):
            line += draw(st.lists(any_text, max_size=2))
        elif not ENDLESS & set(option.opts) and draw(st.integers(0, 2)) == 0:
            line.append(draw(st.sampled_from(option.opts)))
            if not option.is_flag:
                line.append(draw(any_text))
    if path[0] in UNENDING:
        line.append("--no-such-option")
    return line


@given(line=lines())
@examples(40)
def test_every_command_ends_as_it_says(outbox: Cli, line: list[str]) -> None:
    result = outbox(*line)
    assert result.code in (0, 1, 2, 3)
    (result.out + result.err).encode()
    if "--json" in line and result.code == 0 and "--help" not in line and "-h" not in line:
        assert result.json is not None

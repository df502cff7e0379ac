"""Many processes share a terminal, and survive that it is closed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from outbox.cli.terminal import Terminal

ESCAPE = "\x1b"


def test_lines_and_notes_carry_a_name_and_no_colour_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.tell("api", "[bold]as it is[/bold] :smile: " + "x" * 200)
    terminal.tell("worker", "ended", note=True)
    terminal.say("plain")
    output = capfd.readouterr().out
    assert output == f"api    | [bold]as it is[/bold] :smile: {'x' * 200}\nworker * ended\nplain\n"
    assert not terminal.gone


def test_colours_on_a_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Terminal().tell("api", "line")
    assert ESCAPE in capfd.readouterr().out


def test_it_falls_silent_when_the_reader_has_left() -> None:
    program = """
import sys
from outbox.cli.terminal import Terminal
terminal = Terminal()
terminal.say("first")
sys.stdin.readline()
terminal.say("second")
terminal.say("third")
sys.exit(7 if terminal.gone else 0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.wait(20) == 7
        assert process.stderr.read() == ""

"""One terminal for many processes: a coloured name before each line, plain text when it is not a terminal."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.text import Text

_COLOURS = {"mongod": "green", "redis": "red", "relay": "cyan", "worker": "magenta", "api": "yellow"}
_WIDTH = max(map(len, _COLOURS))


class _Output(Console):
    def on_broken_pipe(self) -> None:
        raise


class Terminal:
    """Where `outbox up` shows what happens. `gone` once nobody reads it any more; it is silent from then on."""

    def __init__(self) -> None:
        self._console = _Output(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.gone = False

    def tell(self, name: str, line: str, *, note: bool = False) -> None:
        """Show a line of a child, or a note about it."""
        text = Text(f"{name:<{_WIDTH}} ", style=_COLOURS.get(name, "blue"))
        text.append("* " if note else "| ")
        self.say(text.append(line, style="bold" if note else "default"))

    def say(self, text: str | Text = "") -> None:
        if self.gone:
            return
        try:
            self._console.print(text)
        except OSError:
            # The window was closed, or the pipe's reader left. The children have log files and must be stopped in
            # order, which an exception from every further line would prevent.
            self.gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

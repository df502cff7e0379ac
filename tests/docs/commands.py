"""Commands as the pages show them: whether the command line would accept them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from outbox.cli.program import app
from tests.documents import PAGES

PROGRAM: Any = typer.main.get_command(app)
CONTEXT = typer.Context(PROGRAM)
_INLINE = re.compile(r"`(outbox [^`]+)`")
_VALUES = {"SINCE": "2h", "ID": "65a1f0c2e4b0a1b2c3d4e5f6", "MESSAGE_ID": "65a1f0c2e4b0a1b2c3d4e5f6"}
"""What stands for a value in the pages."""
_BEGIN = re.compile(r"(?:^|[;&|(]\s*|\n)\s*(?:[A-Z_]+=(?:'[^']*'|\S+)\s+)*(?:\S*/)?(outbox [^\n;&|#)]*)")


def shown(page: str) -> Iterator[str]:
    """Every command of ours that a page shows, in a block or in its text."""
    text = PAGES[page]
    for block in re.findall(r"^```sh[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for command in _BEGIN.findall(block.replace("\\\n", " ")):
            yield command.strip()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for command in _INLINE.findall(prose):
        yield " ".join(command.split())


def fault(command: str) -> str | None:
    """What the command line has against it; None: nothing."""
    words = [_VALUES.get(word, word) for word in shlex.split(command)[1:] if word not in ("…", ">")]
    at = PROGRAM
    while commands := getattr(at, "commands", None):
        if not words or words[0] in ("--help", "--version"):
            return None
        name = words.pop(0)
        if name not in commands:
            return f"there is no command {name}"
        at = at.get_command(CONTEXT, name)
    options = {text for one in at.params for text in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    strange = [word for word in words if word.startswith("-") and word.partition("=")[0] not in options]
    return f"it has no option {', '.join(strange)}" if strange else None

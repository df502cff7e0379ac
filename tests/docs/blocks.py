"""The fenced blocks of a page, and how each is shown to be right.

What stands behind the language of a block says how: ```` ```sh background until=Ctrl-C ````.

| | |
|---|---|
| `file=NAME` | saved under this name, for the commands that follow |
| `run` | run in the page's folder, with bash: exit code 0, and in its output all that `expect=` names |
| `expect=TEXT` | run again until TEXT is in its output; `_` stands for a space |
| `background` | left running until the page ends, `until=TEXT`: the page goes on when it has written this |
| `output` | what the command before has written, or JSON of the same form |
| `check`, or nothing | what bash, Python or a parser of YAML can read, with commands of ours that exist |
| `install` | names packages and extras that exist; not run, the tests' environment has them |
| `test=PATH` | another test reads and runs it |
| `drawing` | nothing that could be run |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.documents import PAGES

MODES = {"file", "run", "expect", "background", "output", "check", "install", "test", "drawing"}
READ = {"sh", "python", "yaml", "json"}
"""Languages that are checked where nothing else is said."""
_FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    language: str
    marks: dict[str, str]
    text: str

    @property
    def mode(self) -> str:
        """How it is shown to be right, `expect` being a kind of `run`; empty when nothing says so."""
        modes = {"run" if mark == "expect" else mark for mark in self.marks.keys() & MODES}
        if not modes and self.language in READ:
            return "check"
        return modes.pop() if len(modes) == 1 else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> Iterator[Block]:
    text = PAGES[page]
    for found in _FENCE.finditer(text):
        marks = {name: value.replace("_", " ") if name in ("expect", "until") else value
                 for name, _, value in (mark.partition("=") for mark in found[3].split())}  # fmt: skip
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[2], marks, found[4].replace(f"\n{found[1]}", "\n").removeprefix(found[1]))


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page)]

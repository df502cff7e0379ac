"""A page as a reader follows it: its files are saved, and its commands run, one after the other in one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.docs.blocks import Block
from tests.waiting import eventually_sync

SECONDS = 120


class Session:
    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**_inherited(), **environment}
        self.last = ""
        """What the last command has written."""
        self._ends = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def follow(self, block: Block, text: str) -> None:
        match block.mode:
            case "file":
                (self.folder / block.marks["file"]).write_text(text)
            case "run":
                wanted = block.marks.get("expect")
                if wanted is None:
                    self.last = self.run(text)
                else:
                    eventually_sync(lambda: wanted in self.again(text), SECONDS, every=0.3, what=f"{block}: {wanted!r}")
            case "background":
                self.start(text, block.marks.get("until", ""), str(block))
            case "output":
                self.compare(block, text)

    def again(self, text: str) -> str:
        self.last = self.run(text)
        return self.last

    def run(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, text: str, until: str, name: str) -> None:
        """In a process group of its own, which is ended with the page and must end well."""
        output = self.folder / f".output-{name.rpartition(':')[2]}"
        with output.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_heed_interrupts,
            )  # fmt: skip
        self._ends.callback(_end, process, name, output)

        def ready() -> bool:
            assert process.poll() is None, output.read_text()
            return until in output.read_text()

        try:
            eventually_sync(ready, SECONDS, what=f"{name}: {until!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{output.read_text()}") from None

    def compare(self, block: Block, text: str) -> None:
        if block.language == "json":
            assert alike(json.loads(text), json.loads(self.last)), f"{block}: {self.last}"
        else:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            assert [line for line in lines if line not in self.last] == [], f"{block}: {self.last}"


def alike(shown: Any, real: Any) -> bool:
    """Whether a JSON value has the names and types that are shown, and perhaps more. Of a list, the first item."""
    match shown, real:
        case dict(), dict():
            return all(name in real and alike(inner, real[name]) for name, inner in shown.items())
        case list(), list():
            return not shown or (bool(real) and alike(shown[0], real[0]))
    numbers = isinstance(shown, int | float) and isinstance(real, int | float)
    return type(shown) is type(real) or (numbers and not isinstance(shown, bool) and not isinstance(real, bool))


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores them, and so would all that this run starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(process: subprocess.Popen[bytes], name: str, output: Path) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        code = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise AssertionError(f"{name} does not stop:\n{output.read_text()}") from None
    assert code in (0, 130, -signal.SIGINT), f"{name} ended with {code}:\n{output.read_text()}"


def _inherited() -> dict[str, str]:
    """Without settings of ours: a page says what it sets. The commands are those of this environment, or of another one
    whose folder of programs PAGES_BIN names, such as one of another version of Python."""
    ours = ("MONGODB_", "REDIS_", "OUTBOX_", "PYTHON")
    programs = os.environ.get("PAGES_BIN", Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PATH": f"{programs}:{os.environ['PATH']}"}

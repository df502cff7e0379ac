"""python -m tests.long: what takes long, one after the other, with the last result of each in RESULTS.md."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import typer

from tests.documents import ROOT, put_row

RESULTS = ROOT / "tests/RESULTS.md"
HEAD = "| run | day | minutes | result | its last line |\n|---|---|---:|---|---|\n"


@dataclass(frozen=True)
class Run:
    """`{minutes}` and `{seconds}` in its command are how long it may go on."""

    command: str
    environment: dict[str, str] = field(default_factory=dict)


RUNS = {
    "model": Run("-m tests.model --deep"),
    "conformance": Run("-m tests.conformance --seconds {seconds}"),
    "mutations": Run("-m tests.mutations"),
    "slow tests": Run("-m pytest -q --timeout 3600 -m slow tests --ignore tests/faults"),
    "generated inputs": Run("-m pytest -q --timeout 3600 -k test_any_ tests", {"ADVERSE_TIMES": "10"}),
    "adverse streams": Run("-m pytest -q --timeout 3600 tests/cli/test_adverse.py", {"ADVERSE_TO": "30"}),
    "faults": Run("-m tests.faults --write"),
    "explorer": Run("-m tests.faults.explorer --minutes {minutes} --log explorer.jsonl --write"),
    "soak": Run("-m tests.soak --minutes {minutes} --write"),
}


def main(
    words: Annotated[list[str] | None, typer.Argument(help="Only runs with one of these words in their names.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="For each run that could go on for ever.")] = 30,
) -> None:
    """Run the model, conformance, all mutations, slow tests, generated inputs, the faults, the explorer, and a soak.

    Exit code 1 when one of them has failed. Some hours; needs what `python -m tests.faults` needs.

    Examples:

        python -m tests.long

        python -m tests.long explorer soak --minutes 60
    """
    failed = False
    for name, run in RUNS.items():
        if words and not any(word in name for word in words):
            continue
        command = run.command.format(minutes=f"{minutes:g}", seconds=f"{60 * minutes:g}")
        print(f"== {name}: python {command}", flush=True)
        began = time.monotonic()
        last, code = _follow([sys.executable, *shlex.split(command)], {**os.environ, **run.environment})
        failed |= code != 0
        took = f"{(time.monotonic() - began) / 60:.0f}"
        row = [name, f"{datetime.now(UTC):%Y-%m-%d}", took, _verdict(code), last[:100]]
        put_row(RESULTS, "runs", HEAD, row, RUNS)
    raise typer.Exit(int(failed))


def _follow(command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """Show what it writes; its last line, and its exit code."""
    last = ""
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    return last, process.returncode


def _verdict(code: int) -> str:
    return "ok" if code == 0 else f"FAILED ({code})"


if __name__ == "__main__":
    typer.run(main)

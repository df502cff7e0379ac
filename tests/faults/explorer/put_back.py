"""python -m tests.faults.explorer.put_back: does the explorer find by itself what users have met?"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests import documents
from tests.mutations.__main__ import a_copy, run, taken_out
from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

FIELD: Mapping[str, str] = {
    "a clock steps, and a mark that matched nothing counts": "a mark that changed too few is not taken for done",
    "the same for what is kept after a loss": "keeping that changed too few is not taken for done",
    "the same for what is taken back": "taking back that changed too few is not taken for done",
    "a relay is dead by MongoDB's clock": "the silent are dead, whatever the server's clock says",
    "published without the ids of entries": "what a reconciliation marks has its entries",
    "the same for what survived a loss": "survivors have their entries",
    "settled, and queued again before a loss is noticed": "a subject is looked at as it was before a newer message",
    "a stream is deleted while young and filled by others": "a refilled stream is another one",
    "undelivered entries are trimmed by others": "what is removed before it was given comes again",
    "a consumer is removed while it holds entries": "a removed consumer has acknowledged nothing",
    "a group is set back while something is pending": "a group that was set back needs what it is given again",
    "done without an acknowledgement": "without an acknowledgement nothing is done",
    "replies that are not UTF-8": "replies that are not UTF-8 are read",
    "documents that are not UTF-8": "documents that are not UTF-8 can be read",
    "an entry that can be no message": "an entry that can be no message stays for whoever added it",
    "a message that kills its process": "a take-over is on record before the handler",
    "what was claimed beside such a message": "a suspect is handled alone",
    "a handler that lets nothing run": "signs of life while a handler lets nothing run",
    "a handler that never ends": "a handler's time is limited",
    "entries that a live consumer holds": "what a live worker has forgotten is rescued",
    "an entry whose message is gone": "an entry whose message is gone is taken away",
    "one stream's trouble stops the others": "one stream's trouble is not the others'",
    "whatever Python cannot read": "what Python cannot read ends no change stream and holds up no partition",
}
"""What happened, and the protection that stands against it now: see `tests/mutations`."""

_SEED = re.compile(r"^seed (\d+): VIOLATION", re.MULTILINE)
_VIOLATION = re.compile(r"VIOLATION: (.*)")


def main(
    words: Annotated[list[str] | None, typer.Argument(help="Only faults with one of these words.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="For each of the two to look for one.")] = 10,
    seed: Annotated[int, typer.Option(help="The explorer's first one.")] = 1,
    write: Annotated[bool, typer.Option(help="Put what came of it into tests/RESULTS.md.")] = False,
) -> None:
    """Put each fault of the field back; let the explorer look for it, and conformance for what it does not find.

    Exit code 1 when one of them ended otherwise than by a finding or by its time.

    Examples:

        python -m tests.faults.explorer.put_back --minutes 10 --write

        python -m tests.faults.explorer.put_back clock
    """
    by_name = {mutation.protection: mutation for mutation in MUTATIONS}
    rows = ["| fault | protection taken out | found by | after |", "|---|---|---|---:|"]
    failed = False
    console = Console(highlight=False, soft_wrap=True)
    with a_copy() as tree:
        for fault, protection in FIELD.items():
            if words and not any(word in fault for word in words):
                continue
            began = time.monotonic()
            try:
                found = find(by_name[protection], tree, minutes, seed)
            except ValueError as error:
                failed = True
                console.print(f"{fault}: {error}", markup=False)
                continue
            after = f"{time.monotonic() - began:.0f} s" if found else "–"
            rows.append(f"| {fault} | {protection} | {found or f'not found in {minutes:g} minutes each'} | {after} |")
            console.print(rows[-1], markup=False)
    if write:
        head = f"On {datetime.now(UTC):%Y-%m-%d}; the explorer's first seed is {seed}."
        documents.put(documents.ROOT / "tests/RESULTS.md", "put back", "\n".join([head, "", *rows]))
    raise typer.Exit(int(failed))


def find(mutation: Mutation, tree: Path, minutes: float, seed: int) -> str:
    """What found it and how; "" when nothing did in that time. Raises ValueError when it could not be looked for."""
    with taken_out(mutation, tree):
        looked = ["--seed", f"{seed}", "--minutes", f"{minutes:g}", "--first", "--shrink", "0"]
        done = _look(tree, minutes, "tests.faults.explorer", *looked)
        if done and done.returncode:
            seeds, violations = _SEED.findall(done.stdout), _VIOLATION.findall(done.stdout)
            if not seeds or not violations:
                raise ValueError(f"the explorer ended by an error: {done.stderr[-2000:]}")
            return f"the explorer, seed {seeds[0]}: {violations[0][:100]}".replace("|", "/")
        done = _look(tree, minutes, "tests.conformance", "--seed", f"{seed}", "--seconds", f"{60 * minutes:g}")
        if done and done.returncode:
            if "Traceback" in done.stderr or not done.stdout:
                raise ValueError(f"conformance ended by an error: {done.stderr[-2000:]}")
            return f"conformance: {done.stdout.splitlines()[-1][:100]}".replace("|", "/")
    return ""


def _look(tree: Path, minutes: float, *module: str) -> subprocess.CompletedProcess[str] | None:
    """None: it had not ended long after its time."""
    try:
        return run(tree, *module, seconds=60 * minutes + 900)
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    typer.run(main)

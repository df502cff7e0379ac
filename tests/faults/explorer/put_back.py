"""python -m tests.faults.explorer.put_back: does the explorer find by itself what users have met?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests import documents
from tests.mutations.__main__ import a_copy, taken_out
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

NEEDED: Mapping[str, str] = {
    "the same for what is taken back": "append, make leases anew, flush redis, kill a relay, start a relay",
    "a relay is dead by MongoDB's clock": "append, work in a burst, set a clock far back and kill a relay",
    "settled, and queued again before a loss is noticed": "settle, queue again, flush redis, rest",
    "a stream is deleted while young and filled by others": "append, work in a burst, fill a stream anew, rest",
    "undelivered entries are trimmed by others": (
        "append, work in a burst, plain workers leave, plain workers return, remove entries that nobody was given"
    ),
    "a consumer is removed while it holds entries": (
        "work in a burst, take entries and forget them, remove a consumer that is gone, reset the statistics, "
        "plain workers leave, put a relay to sleep, wake a relay, kill redis"
    ),
    "a group is set back while something is pending": (
        "work in a burst, listen, acknowledge what was listened to, set the listeners back, plain workers leave, "
        "plain workers return"
    ),
    "done without an acknowledgement": "append, work in a burst, read without acknowledging",
    "documents that are not UTF-8": "append, work in a burst, write notes into messages, append what ends its process",
    "an entry that can be no message": "append, add entries that nobody can read, spoil a plain worker",
    "a message that kills its process": "append, work in a burst, append what ends its process",
    "what was claimed beside such a message": "append, work in a burst, append what ends its process",
    "a handler that lets nothing run": "append, hold a process",
    "a handler that never ends": "append, work in a burst",
    "an entry whose message is gone": "append, work in a burst, delete messages, spoil a plain worker",
    "one stream's trouble stops the others": "append, put a key in the place of a stream",
    "whatever Python cannot read": "append, write a message from the far future, poison",
}
"""Of all the explorer's actions, those that must come one upon the other for a fault to show."""

HEAD = "| fault | protection taken out | found by | after | day |\n|---|---|---|---:|---|\n"
_VIOLATION = re.compile(r"^seed (\d+): VIOLATION.*?^.*?VIOLATION: (.*?)$", re.MULTILINE | re.DOTALL)
LONGER_SECONDS = 120
"""For what has begun when the time is over."""
EXPLORER = "tests.faults.explorer"
_DRIFT = "The product does not agree:"


def main(
    words: Annotated[list[str] | None, typer.Argument(help="Only faults with one of these words.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="To look for each.")] = 10,
    seed: Annotated[int, typer.Option(help="The explorer's first one.")] = 1,
    needed: Annotated[bool, typer.Option(help="Let the explorer choose from the actions that a fault needs.")] = False,
    write: Annotated[bool, typer.Option(help="Put what came of each into tests/RESULTS.md.")] = False,
) -> None:
    """Put each fault of the field back, and let the explorer and conformance look for it, both at once.

    Exit code 1 when one of them ended otherwise than by a finding or by its time.

    Examples:

        python -m tests.faults.explorer.put_back --minutes 10 --write

        python -m tests.faults.explorer.put_back clock

        python -m tests.faults.explorer.put_back --needed --minutes 5
    """
    by_name = {mutation.protection: mutation for mutation in MUTATIONS}
    failed = False
    console = Console(highlight=False, soft_wrap=True)
    with a_copy() as tree:
        for fault, protection in FIELD.items():
            if words and not any(word in fault for word in words):
                continue
            began = time.monotonic()
            only = NEEDED[fault].split(", ") if needed and fault in NEEDED else []
            try:
                found = find(by_name[protection], tree, minutes, seed, only)
            except ValueError as error:
                failed = True
                console.print(f"{fault}: {error}", markup=False)
                continue
            after = f"{time.monotonic() - began:.0f} s" if found else "–"
            found = found or f"not found in {minutes:g} minutes"
            if only:
                found = f"of {len(only)} actions, {found}"
            row = [fault, protection, found, after, f"{datetime.now(UTC):%Y-%m-%d}"]
            console.print(" | ".join(row), markup=False)
            if write:
                documents.put_row(documents.ROOT / "tests/RESULTS.md", "put back", HEAD, row, FIELD)
    raise typer.Exit(int(failed))


def find(mutation: Mutation, tree: Path, minutes: float, seed: int, only: Sequence[str] = ()) -> str:
    """What found it first, and how; "" when neither did. Raises ValueError when it could not be looked for.

    :param only: the actions that the explorer chooses from; by default, some by chance.
    """
    chosen = [argument for name in only for argument in ("--only", name)]
    searches = {
        EXPLORER: ["--minutes", f"{minutes:g}", "--first", "--shrink", "0", "--seed", f"{seed}", *chosen],
        "tests.conformance": ["--seconds", "inf", "--seed", f"{seed}"],
    }
    with taken_out(mutation, tree), tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running: dict[str, subprocess.Popen[bytes]] = {}
        for name, arguments in searches.items():
            running[name] = stack.enter_context(_begun(tree, Path(folder), name, *arguments))
        late = time.monotonic() + 60 * minutes + LONGER_SECONDS
        while running and time.monotonic() < late:
            time.sleep(1)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                if running.pop(name).returncode:
                    return f"{name.rpartition('.')[2]}: {_told(name, Path(folder))}".replace("|", "/")
    return ""


@contextmanager
def _begun(tree: Path, folder: Path, module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A search, in the tree; killed at the end, and its servers with it. What it leaves is in the folder."""
    paths = os.pathsep.join(str(tree / part) for part in ("", "relay", "api"))
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", module, *arguments]
    with (folder / f"{module}.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=tree, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _told(module: str, folder: Path) -> str:
    """Its finding, in a line. Raises ValueError when it ended by an error."""
    output = (folder / f"{module}.log").read_text(errors="replace")
    if module == EXPLORER:
        found = [f"seed {number}: {what}" for number, what in _VIOLATION.findall(output)]
    else:
        found = [" ".join(output.partition(_DRIFT)[2].split())] if _DRIFT in output else []
    if not found:
        raise ValueError(f"{module} ended by an error: {output[-2000:]}")
    return found[0][:160]


if __name__ == "__main__":
    typer.run(main)

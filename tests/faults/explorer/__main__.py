"""python -m tests.faults.explorer"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests import documents
from tests.faults.explorer import log
from tests.faults.explorer.actions import ACTIONS
from tests.faults.explorer.run import STEPS, Exploration, explore
from tests.faults.explorer.servers import Members, One, Three, choose
from tests.faults.explorer.shrink import as_a_test, shrunk

console = Console(highlight=False, soft_wrap=True)


def main(
    seed: Annotated[int | None, typer.Option(help="Repeat this one.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, if --minutes does not say.")] = 1,
    minutes: Annotated[float | None, typer.Option(help="Seed after seed, for so long.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Actions for each seed.")] = STEPS,
    logged: Annotated[Path | None, typer.Option("--log", help="Add a line of JSON for each seed.")] = None,
    write: Annotated[bool, typer.Option(help="Put what is in the log into tests/RESULTS.md.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only these actions; by default, some by chance.")] = None,
    shrink: Annotated[float, typer.Option(min=0, help="Minutes to look for the fewest actions of a finding.")] = 10,
    first: Annotated[bool, typer.Option("--first", help="End at the first violation.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show actions as they happen.")] = False,
) -> None:
    """Random faults, one upon the other, over real servers; the judge decides. Exit code 1 when a promise was broken.

    Examples:

        python -m tests.faults.explorer --seed 7 -v

        python -m tests.faults.explorer --minutes 30 --log seeds.jsonl --write

        python -m tests.faults.explorer --minutes 5 --only append --only "drop a consumer"

    OUTBOX_REDIS_SERVER chooses another Redis.
    """
    by_name = {action.name: action for action in ACTIONS}
    if unknown := set(only or ()) - by_name.keys():
        raise typer.BadParameter(f"no actions: {sorted(unknown)}; there are {sorted(by_name)}")
    actions = [by_name[name] for name in only] if only else None
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    done: list[Exploration] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="explorer-mongodb-")))
        kinds: dict[str, Members] = {
            "three": Three(folder / "three"),
            "three with clocks": Three(folder / "three-stepped", clocks=True),
            "one": One(folder),
            "one with clocks": One(folder / "stepped", clocks=True),
        }
        begin = seed if seed is not None else random.SystemRandom().randrange(10**6)
        while (time.monotonic() < deadline) if deadline else (len(done) < seeds):
            number = begin + len(done)
            members = choose(number, kinds)
            stack.enter_context(members.servers())
            told = console.print if verbose else lambda _: None
            result = asyncio.run(explore(number, members, steps=steps, actions=actions, tell=told))
            done.append(result)
            tell(result, verbose)
            if result.violation and shrink:
                console.print("looking for the fewest actions")
                fewest = asyncio.run(shrunk(result, members, 60 * shrink, console.print))
                console.print(as_a_test(result, fewest) if fewest is not None else "it did not show again")
            if logged:
                log.write(logged, result)
            if first and result.violation:
                break
    if logged and write:
        documents.put(documents.ROOT / "tests/RESULTS.md", "explorer", log.summary(log.read(logged)))
    sys.exit(1 if any(result.violation for result in done) else 0)


def tell(result: Exploration, verbose: bool) -> None:
    verdict = "VIOLATION" if result.violation else "ok"
    console.print(
        f"seed {result.seed}: {verdict}; {result.done['appends']} appends, "
        f"{result.done['appends in doubt or failed']} in doubt or failed, {result.done['entries']} entries, "
        f"{result.faults.total()} faults, {result.servers}, {result.seconds:.0f} s"
    )
    if not result.violation:
        return
    if not verbose:
        console.print("\n".join(result.story))
    console.print(f"data and logs: {result.evidence}")
    console.print(f"again: python -m tests.faults.explorer --seed {result.seed}")


if __name__ == "__main__":
    typer.run(main)

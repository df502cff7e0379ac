"""python -m tests.soak"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import Progress

from outbox import Outbox
from outbox.streams.declaration import Streams
from tests import documents
from tests.soak.faults import FAULTS
from tests.soak.figures import Sample, grown, table
from tests.soak.sampling import sample
from tests.soak.stage import DATABASE, STREAM, Stage
from tests.soak.traffic import Traffic
from tests.waiting import pass_by

SAMPLE_SECONDS = 10.0
REST_SECONDS = 120.0
console = Console(highlight=False, soft_wrap=True)


@dataclass
class Soak:
    """What has come of it."""

    seed: int
    rate: float
    minutes: float
    samples: list[Sample] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    appended: int = 0
    in_doubt: int = 0
    violations: list[str] = field(default_factory=list)


async def soak(folder: Path, *, rate: float, seconds: float, every: float, seed: int) -> Soak:
    """Run it. What is not as promised is in the result."""
    result = Soak(seed, rate, seconds / 60)
    stage = Stage(folder, retention_seconds=seconds / 12)
    async with stage.built() as database:
        traffic = Traffic(database, Outbox(Streams([STREAM]), database=DATABASE), STREAM.name)
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as busy:
            busy.create_task(traffic.at_rate(rate, ended))
            busy.create_task(_fail(stage, every, random.Random(seed), result.faults, ended))
            until = time.monotonic() + seconds
            with Progress(console=Console(stderr=True)) as progress:
                bar = progress.add_task("Soak", total=seconds)
                while (left := until - time.monotonic()) > 0 and not stage.defects():
                    progress.update(bar, completed=seconds - left)
                    await pass_by(min(SAMPLE_SECONDS, seconds / 100))
                    with suppress(PyMongoError, RedisError):
                        await traffic.collect()
                        result.samples.append(await sample(stage, database))
            ended.set()
        result.violations += await _at_rest(traffic)
        result.appended, result.in_doubt = len(traffic.committed), len(traffic.in_doubt)
        result.violations += stage.defects()
    result.violations += grown(result.samples)
    return result


async def _fail(stage: Stage, every: float, dice: random.Random, done: Counter[str], ended: asyncio.Event) -> None:
    """One fault after the other, until `ended`: all of them in turn, each time in another order."""
    while True:
        for fault in dice.sample(FAULTS, len(FAULTS)):
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await ended.wait()
            if ended.is_set():
                return
            await fault(stage)
            done[fault.__name__.replace("_", " ")] += 1


async def _at_rest(traffic: Traffic) -> list[str]:
    """What is still not as promised when nothing has been appended for a while."""
    until = time.monotonic() + REST_SECONDS
    while (found := await traffic.violations()) and time.monotonic() < until:
        await pass_by(1)
    return found


def report(result: Soak) -> str:
    """In Markdown."""
    head = (
        f"On {datetime.now(UTC):%Y-%m-%d}, {result.minutes:g} minutes at {result.rate:g} appends a second: "
        f"{result.appended:,} messages, {result.in_doubt:,} appends in doubt or failed, "
        f"{result.faults.total()} faults, {len(result.violations)} violations. "
        "Of two relays and two workers, those are measured that nothing is done to."
    )
    faults = ", ".join(f"{name} {count}" for name, count in sorted(result.faults.items()))
    return f"{head}\n\n{table(result.samples)}\n\nFaults: {faults}. Seed {result.seed}."


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="For how long; messages are kept for a twelfth of it.")] = 60,
    rate: Annotated[float, typer.Option(min=1, help="Appends a second.")] = 200,
    every: Annotated[float, typer.Option(min=1, help="Seconds from one fault to the next.")] = 30,
    seed: Annotated[int | None, typer.Option(help="The order of faults. By default any.")] = None,
    write: Annotated[bool, typer.Option(help="Put the figures into tests/RESULTS.md.")] = False,
) -> None:
    """Everyday traffic while servers and programs fail. Exit code 1 when something was lost, came twice, or has grown.

    Examples:

        python -m tests.soak --minutes 60 --write

        python -m tests.soak --minutes 2 --every 5
    """
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    result = asyncio.run(soak(folder, rate=rate, seconds=60 * minutes, every=every, seed=seed))
    text = report(result)
    console.print(text, markup=False)
    for violation in result.violations:
        console.print(f"VIOLATION: {violation}", markup=False)
    if write:
        documents.put(documents.ROOT / "tests/RESULTS.md", "soak", text)
    if result.violations:
        console.print(f"data and logs: {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder)
    console.print("nothing was lost, and nothing has grown")


if __name__ == "__main__":
    typer.run(main)

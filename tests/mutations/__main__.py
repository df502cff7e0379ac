"""python -m tests.mutations: take each protection out, one at a time, and show that a named test notices."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = (".git", ".venv", "__pycache__", ".*_cache", "node_modules")
SLIPS = re.compile(r"^E .*(NameError|AttributeError|SyntaxError|ImportError)", re.MULTILINE)
"""As what a test failed by, these say that the mutation itself is wrong, so that its failure proves nothing."""


@contextmanager
def taken_out(mutation: Mutation, tree: Path) -> Iterator[None]:
    """Inside, the protection is not in the tree. Raises ValueError when it cannot be taken out as meant."""
    file = tree / mutation.file
    whole = file.read_text()
    if whole.count(mutation.there) != 1:
        raise ValueError(f"{mutation.file} has {mutation.there!r} {whole.count(mutation.there)} times, not once")
    file.write_text(whole.replace(mutation.there, mutation.without))
    try:
        yield
    finally:
        file.write_text(whole)


def run(tree: Path, *module: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """A module of the tree, in the tree."""
    paths = os.pathsep.join(str(tree / part) for part in ("", "relay", "api"))
    return subprocess.run(
        [sys.executable, "-m", *module],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def noticed(mutation: Mutation, tree: Path) -> bool:
    """Whether the named test fails without the protection. Raises ValueError when it was not taken out as meant."""
    with taken_out(mutation, tree):
        also_slow = ("-m", "slow or not slow")
        done = run(tree, "pytest", "-q", "-x", "-p", "no:cacheprovider", *also_slow, mutation.test, seconds=300)
    # 1 is a failed test; anything else (no such test, say) would prove nothing.
    if done.returncode > 1 or SLIPS.search(done.stdout):
        raise ValueError(f"{mutation.protection}: the test did not run as it should\n{done.stdout[-3000:]}")
    return done.returncode == 1


@contextmanager
def a_copy() -> Iterator[Path]:
    """A copy of the tree, to be changed."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
        yield tree


def some(mutations: Sequence[Mutation], seconds: float, seed: int) -> Iterator[Mutation]:
    """Mutations in random order, until so much time has gone."""
    began = time.monotonic()
    for mutation in random.Random(seed).sample(mutations, len(mutations)):
        if time.monotonic() - began >= seconds:
            return
        yield mutation


def main(
    words: Annotated[list[str] | None, typer.Argument(help="Only protections with one of these words.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Begin no other one after so many seconds.")] = None,
    seed: Annotated[int | None, typer.Option(help="With --seconds: which ones come first. By default any.")] = None,
) -> None:
    """Take each protection out, in a copy of the tree, and show that a named test notices.

    Exit code 1 when one is not noticed, or could not be taken out as meant.

    Examples:

        python -m tests.mutations

        python -m tests.mutations token marker

        python -m tests.mutations --seconds 120
    """
    chosen = [mutation for mutation in MUTATIONS if not words or any(word in mutation.protection for word in words)]
    seed = random.randrange(10**6) if seed is None else seed
    console = Console()
    if seconds is not None:
        console.print(f"in random order, for about {seconds:g} s: --seed {seed}")
    table = Table("protection taken out", "guarantee", "test that notices", "noticed")
    tried = found = 0
    with a_copy() as tree:
        each = chosen if seconds is None else some(chosen, seconds, seed)
        for mutation in track(each, "Mutations", total=len(chosen), console=Console(stderr=True)):
            try:
                result = "yes" if noticed(mutation, tree) else "NO"
            except (ValueError, subprocess.TimeoutExpired) as error:
                result = f"NO: {error}"
            tried += 1
            found += result == "yes"
            table.add_row(mutation.protection, mutation.guarantee, mutation.test, result)
    console.print(table)
    console.print(f"{found} of {tried} noticed")
    raise typer.Exit(int(found < tried))


if __name__ == "__main__":
    typer.run(main)

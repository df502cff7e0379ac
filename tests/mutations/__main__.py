"""Takes each protection out, one at a time, and shows that a named test notices.

    python -m tests.mutations
    python -m tests.mutations token marker    # those with such a word in their name

Each mutation is made in a copy of the tree. Exit code 0 when every one is noticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

ROOT = Path(__file__).resolve().parents[2]


def noticed(mutation: Mutation, tree: Path) -> bool:
    """Whether the named test fails without the protection. Raises ValueError when it was not taken out as meant."""
    file = tree / mutation.file
    whole = file.read_text()
    if whole.count(mutation.there) != 1:
        raise ValueError(f"{mutation.file} has {mutation.there!r} {whole.count(mutation.there)} times, not once")
    file.write_text(whole.replace(mutation.there, mutation.without))
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.test],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        file.write_text(whole)
    # 1 is a failed test; anything else (a syntax error, no such test) would prove nothing, nor would a slip in Python.
    if run.returncode > 1 or any(slip in run.stdout for slip in ("NameError", "AttributeError", "SyntaxError")):
        raise ValueError(f"{mutation.protection}: the test did not run as it should\n{run.stdout[-3000:]}")
    return run.returncode == 1


def main() -> int:
    table = Table("protection taken out", "guarantee", "test that notices", "noticed")
    words = sys.argv[1:]
    chosen = [mutation for mutation in MUTATIONS if not words or any(word in mutation.protection for word in words)]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
        for mutation in track(chosen, "Mutations", console=Console(stderr=True)):
            found = noticed(mutation, tree)
            survivors += not found
            table.add_row(mutation.protection, mutation.guarantee, mutation.test, "yes" if found else "NO")
    console = Console()
    console.print(table)
    console.print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

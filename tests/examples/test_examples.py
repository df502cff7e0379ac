"""The tests of each example pass, run as whoever copies its folder would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT

EXAMPLES = ROOT / "examples"
SERVICES = sorted(path.parent for path in EXAMPLES.glob("*/conftest.py"))


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_the_tests_of_an_example(service: Path) -> None:
    # Nothing of this run: no options, no process number, no settings of the tests around it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OUTBOX_"))}
    environment |= {name: os.environ[name] for name in ("OUTBOX_MONGOD", "OUTBOX_REDIS_SERVER") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error::RuntimeWarning"],
        cwd=service, env=environment, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_example_is_named() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    assert len(SERVICES) == 3
    assert [service.name for service in SERVICES if f"({service.name})" not in readme] == []

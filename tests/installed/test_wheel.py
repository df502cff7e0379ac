"""The wheel in an empty environment, beside an application that has packages `api` and `relay` of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.documents import ROOT
from tests.installed.programs import APPEND, WORK

AT_MOST = 14
"""Distributions of the base install, ours among them."""

SECONDS = 400

pytestmark = pytest.mark.timeout(2 * SECONDS)


class Environment:
    """A virtual environment, empty at first."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.bin = folder / "bin"
        (self.site,) = folder.glob("lib/python3*/site-packages")

    def pip(self, *arguments: str | Path) -> None:
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", self.bin / "python", "-q"]
        subprocess.run([*pip, *arguments], check=True, timeout=SECONDS, cwd=self.bin)

    def run(
        self, *command: str | Path, cwd: Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        program, *arguments = command
        return subprocess.run(
            [self.bin / program, *arguments],
            cwd=cwd, env=environment | dict(variables or {}), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def distributions(self) -> set[str]:
        listed: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.bin / "python",
            "list",
            "--format",
            "json",
        ]
        found = subprocess.run(listed, check=True, capture_output=True, text=True, cwd=self.bin)
        return {one["name"] for one in json.loads(found.stdout)}


def put_packages(folder: Path) -> Path:
    """The application's packages `api` and `relay`."""
    for name in ("api", "relay"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text('WHOSE = "mine"\n')
    return folder


def wheel_of_an_application(folder: Path) -> Path:
    """A distribution that installs top-level packages `api` and `relay`."""
    folder.mkdir()
    info = "shop-1.0.dist-info"
    files = {f"{name}/__init__.py": 'WHOSE = "mine"\n' for name in ("api", "relay")}
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / "shop-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


def installed(folder: Path) -> Environment:
    """The application's distribution, then ours without any extra, from a wheel."""
    environment = Environment(folder / "venv")
    environment.pip("wheel", "--no-deps", "--wheel-dir", folder / "ours", ROOT)
    (ours,) = (folder / "ours").glob("*.whl")
    environment.pip("install", wheel_of_an_application(folder / "theirs"), ours)
    return environment


# One test, for one environment: it takes long to make, and the test runner would make one in each of its processes.
def test_the_base_install_is_small_and_beside_an_application_works_and_goes_again(
    mongodb_uri: str, database: str, redis_url: str, tmp_path: Path
) -> None:
    base = installed(tmp_path / "installed")
    few = base.distributions() - {"shop"}
    assert "outbox-relay" in few
    assert len(few) <= AT_MOST, sorted(few)
    (record,) = base.site.glob("outbox_relay-*.dist-info/RECORD")
    tops = {line.partition("/")[0] for line in record.read_text().splitlines()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"..", "outbox", "outbox_api", "outbox_relay"}

    the_program_says_that_the_command_line_is_missing(base, tmp_path)
    servers = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url}
    for count, place in enumerate(("installed", "working directory", "PYTHONPATH"), 1):
        one_message_is_appended_and_worked_on(base, place, servers, tmp_path / place)
        with MongoClient[dict[str, object]](mongodb_uri) as client:
            assert client[database].files.count_documents({"parsing": "parsed"}) == count
            assert [message["state"] for message in client[database].outbox.find()] == ["completed"] * count

    base.pip("uninstall", "-y", "outbox-relay")
    assert not list(base.site.glob("outbox*"))
    assert not (base.bin / "outbox").exists()
    for folder in (tmp_path, put_packages(tmp_path / "again")):
        done = base.run("python", "-c", "import api, relay; print(api.WHOSE, relay.WHOSE)", cwd=folder)
        assert done.stdout == "mine mine\n"
    assert "shop" in base.distributions()


def the_program_says_that_the_command_line_is_missing(base: Environment, folder: Path) -> None:
    for command in (["outbox", "status"], ["python", "-m", "outbox", "worker"]):
        done = base.run(*command, cwd=folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: the command line needs ")
        assert done.stderr.endswith("pip install 'outbox-relay[cli]'\n")
        assert done.stderr.count("\n") == 1


def one_message_is_appended_and_worked_on(
    base: Environment, place: str, servers: Mapping[str, str], folder: Path
) -> None:
    """Where the application's own packages `api` and `relay` are at `place`."""
    here, variables = folder / "here", dict(servers)
    here.mkdir(parents=True)
    if place == "working directory":
        put_packages(here)
    if place == "PYTHONPATH":
        variables["PYTHONPATH"] = str(put_packages(folder / "elsewhere"))
    for name, program in (("append.py", APPEND), ("work.py", WORK)):
        (here / name).write_text(program)

    def ours(*arguments: str) -> None:
        """With all extras, as the tests run: `python -m` looks into the working directory first."""
        command = [sys.executable, "-m", "outbox", *arguments]
        subprocess.run(command, cwd=here, env=os.environ | variables, check=True, timeout=120, capture_output=True)

    ours("init")
    appended = base.run("python", "append.py", cwd=here, variables=variables)
    assert (appended.returncode, appended.stderr) == (0, "")
    ours("api", "--help")
    ours("relay", "--once", "--port", "0")
    worked = base.run("python", "work.py", cwd=here, variables=variables)
    assert worked.returncode == 0, worked.stderr

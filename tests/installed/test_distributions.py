"""The distributions, as they would be published: their contents, their metadata, and the README as PyPI shows it."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.documents import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {
    "outbox": ROOT / "outbox",
    "outbox_relay": ROOT / "relay/outbox_relay",
    "outbox_api": ROOT / "api/outbox_api",
}
STEM = f"outbox_relay-{PROJECT['version']}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def metadata(built: Path) -> Message:
    with zipfile.ZipFile(built / f"{STEM}-py3-none-any.whl") as wheel:
        return Parser().parsestr(wheel.read(f"{STEM}.dist-info/METADATA").decode())


def test_the_wheel_has_the_packages_whole_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built / f"{STEM}-py3-none-any.whl") as wheel:
        names = {name for name in wheel.namelist() if not name.startswith(f"{STEM}.dist-info/")}
    there = {
        f"{package}/{path.relative_to(folder)}"
        for package, folder in (PACKAGES | {"outbox_api/docs": ROOT / "docs"}).items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == there


def test_the_sdist_has_what_is_needed_to_test_it_and_no_leftovers(built: Path) -> None:
    with tarfile.open(built / f"{STEM}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "docs/README.md", "tests/conftest.py"} <= names
    leftovers = re.compile(r"(^|/)(\.env|\.venv|__pycache__|\.\w+_cache|outbox-data|dist)(/|$)|\.(pyc|log)$")
    assert [name for name in names if leftovers.search(name)] == []


def test_the_metadata_are_those_of_the_project(built: Path) -> None:
    found = metadata(built)
    assert (found["Name"], found["Version"]) == ("outbox-relay", PROJECT["version"])
    assert found["License-Expression"] == "MIT"
    assert found["Requires-Python"] == PROJECT["requires-python"]
    assert set(found.get_all("Provides-Extra", [])) == PROJECT["optional-dependencies"].keys()
    assert found["Description-Content-Type"] == "text/markdown"
    assert str(found.get_payload()).strip() == (ROOT / "README.md").read_text().strip()


def test_pypi_would_take_them_and_show_the_readme(built: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_changelog_has_this_version_with_its_date() -> None:
    released = re.findall(r"^## \[(\d[\d.]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == PROJECT["version"]

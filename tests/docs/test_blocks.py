"""Every block says how it is shown to be right, and what is not run is read by what would run it."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections import Counter

import pytest
import yaml

from tests.docs.blocks import Block, all_blocks
from tests.docs.commands import fault, shown
from tests.documents import PAGES, ROOT

BLOCKS = all_blocks()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OTHERS = {"opentelemetry-distro", "opentelemetry-exporter-otlp", "redis@5"}
"""Packages of others that pages install, beside those that the tests install."""


def of_mode(mode: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [block for block in BLOCKS if block.mode == mode], ids=str)


def test_every_block_says_how_it_is_shown_to_be_right() -> None:
    assert [str(block) for block in BLOCKS if not block.mode] == []
    assert Counter(block.mode for block in BLOCKS)["run"] > 10


@of_mode("check")
def test_what_is_not_run_can_be_read(block: Block) -> None:
    match block.language:
        case "sh":
            read = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
            assert read.returncode == 0, read.stderr
        case "python":
            compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        case "yaml" | "json":
            assert yaml.safe_load(block.text)
        case other:
            raise AssertionError(f"{block}: nothing reads {other}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page: str) -> None:
    faults = [f"{command}: {found}" for command in shown(page) if (found := fault(command))]
    assert faults == []


def test_what_a_command_lacks_is_found() -> None:
    assert fault("outbox dead list --json") is None
    assert fault("outbox dead list --jsn")
    assert fault("outbox statis")


@of_mode("install")
def test_what_is_installed_exists(block: Block) -> None:
    installed = re.findall(r"(?:pip|npm) install (?:-\S+ )*(.+)", block.text)
    assert installed
    for package in " ".join(installed).replace("'", "").replace('"', "").split():
        name, extra = re.fullmatch(r"([^\[]+)(?:\[(.*)\])?", package.partition("==")[0]).groups()  # type: ignore[union-attr]
        if name in ("${OUTBOX}", ".", "/path/to/clone", PROJECT["name"]):
            assert not extra or set(extra.split(",")) <= PROJECT["optional-dependencies"].keys(), package
        else:
            known = " ".join(PROJECT["optional-dependencies"]["test"])
            assert name in OTHERS or re.search(rf"(^| ){re.escape(name)}\b", known), package


@of_mode("test")
def test_the_other_test_reads_the_page(block: Block) -> None:
    read = (ROOT / block.marks["test"]).read_text()
    assert block.page in read, f"{block.marks['test']} does not read {block.page}"

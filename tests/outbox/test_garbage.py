"""Our programs look for garbage seldom, and never among what they have loaded; whoever embeds the library decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from outbox import garbage
from tests.cli.conftest import Cli, bare, cli, outbox, with_files

__all__ = ["bare", "cli", "outbox", "with_files"]

TELLS = """
import atexit, gc, json, sys
atexit.register(lambda: print(json.dumps([gc.get_freeze_count(), gc.get_threshold()])))
{program}
"""
RELAY = "from outbox.cli import main; main(['relay', '--once', '--port', '0'])"
API = """
from outbox.settings import OutboxSettings, load
from outbox_api.cli import _application
from outbox_api.settings import ApiSettings
_application(load(ApiSettings), load(OutboxSettings))
"""
EMBEDDED = "import outbox.worker.consumer, outbox.testing, outbox.append"


def told_at_its_end(program: str, environment: Mapping[str, str]) -> tuple[int, list[int]]:
    command = [sys.executable, "-c", TELLS.format(program=program)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    frozen, thresholds = json.loads(ended.stdout.splitlines()[-1])
    return frozen, thresholds


@pytest.mark.parametrize("program", [RELAY, API], ids=["relay", "api"])
def test_a_program_of_ours_leaves_alone_what_it_has_loaded(with_files: Cli, program: str) -> None:
    frozen, thresholds = told_at_its_end(program, os.environ)
    assert frozen > 50_000
    assert thresholds == [garbage.YOUNG, garbage.MIDDLE, garbage.ALL]


def test_a_host_looks_for_its_garbage_as_it_did() -> None:
    assert told_at_its_end(EMBEDDED, os.environ) == told_at_its_end("", os.environ)

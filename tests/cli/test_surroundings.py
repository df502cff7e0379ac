"""Commands as processes, wherever they are started: outputs that are full or closed, encodings, the folder's files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf

OUTBOX = str(Path(sys.executable).with_name("outbox"))


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", "-c", line.replace("outbox", OUTBOX, 1)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_output_that_is_full_is_an_error_in_a_line(cli: Cli) -> None:
    done = shell("outbox --version >/dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the output cannot be written: No space left on device" in done.stderr
    assert shell("outbox --version >/dev/full 2>/dev/full").returncode == 1


@pytest.mark.parametrize("where", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_an_output_that_is_closed_changes_nothing(outbox: Cli, where: str) -> None:
    done = shell(f"outbox status {where}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_an_encoding_has_no_characters_for_is_escaped(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, key="caf\u00e9 \u2603", last_error="\U0001f4a5")
    for encoding, snowman in {"latin-1": r"\u2603", "cp1252": r"\u2603", "utf-8": "\u2603"}.items():
        command = [OUTBOX, "dead", "list"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"caf\u00e9 {snowman}" in done.stdout.decode(encoding)


@pytest.mark.parametrize("where", [">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_a_relay_goes_on_whose_log_cannot_be_written(outbox: Cli, shelf: Shelf, where: str) -> None:
    waiting = shelf.put(State.PENDING, 3)
    assert shell(f"outbox relay --once --port 0 {where}").returncode == 0
    assert shelf.states(*waiting) == ["published"] * 3


def test_processes_of_a_worker_are_ours_whatever_is_in_the_folder(
    outbox: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outbox.py").write_text("open('theirs', 'w').close()\nraise SystemExit(2)\n")
    (tmp_path / "handlers.py").write_text("def handle(message, session): ...\n")
    # Refused by each process, so that all of it ends.
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([{"name": "file_parsing_queue", "group": "others"}]))
    done = shell("outbox worker --handler handlers:handle --processes 2")
    assert not (tmp_path / "theirs").exists()
    assert done.returncode == 2
    assert "'others'" in done.stderr, done.stderr

"""Two outboxes in one database: files are of the one that was set up with them, and no other gives them messages."""

from __future__ import annotations

from typing import Any

import pytest

from outbox.cli import verify as command
from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO


@pytest.fixture
def second(with_files: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """As docs/several-outboxes.md sets it up. The first one has two files that wait."""
    monkeypatch.setattr(command, "PAUSE_SECONDS", 0.01)
    for _ in range(2):
        file = shelf.put_file("queued", updated_at=LONG_AGO)
        shelf.put(State.PENDING, key=str(file))
    shelf.put_file("parsing start")
    monkeypatch.setenv("OUTBOX_PREFIX", "orders_outbox")
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", "staging:")
    assert with_files("init").code == 0
    return with_files


def everything(shelf: Shelf) -> list[Any]:
    return [list(shelf.db.orders_outbox.find()), list(shelf.db.files.find())]


def test_a_repair_gives_them_none(second: Cli, shelf: Shelf) -> None:
    before = everything(shelf)
    findings = second("verify", "--repair", "--json").json["findings"]
    assert everything(shelf) == before
    for finding in findings:
        if finding["check"] == "file-without-message":
            assert not finding["repairable"]
            assert "if that is the API of this outbox: outbox init --files" in finding["mend"]


@pytest.mark.parametrize("how", ["enqueue", "migrate", "migrate --dry-run"])
def test_nor_does_a_command(second: Cli, shelf: Shelf, how: str) -> None:
    before = everything(shelf)
    file = [shelf.db.files.find_one()["_id"]] if how == "enqueue" else []  # type: ignore[index]
    refused = second(*how.split(), *file)
    assert refused.code == 1
    assert "was not set up with the files application" in refused.err
    assert "run: outbox init --files" in refused.err
    assert everything(shelf) == before


def test_nor_is_it_set_up_with_them_by_mistake(second: Cli) -> None:
    refused = second("init", "--files")
    assert refused.code == 2
    assert "files" in refused.err

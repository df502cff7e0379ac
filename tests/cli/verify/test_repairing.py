"""What a repair leaves is said, and is exit code 1."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.message.document import State
from outbox.streams.declaration import FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, found, published


def results(cli: Cli, *options: str) -> tuple[int, list[tuple[str, Any, bool]]]:
    result = cli("verify", "--repair", *options, "--json")
    return result.code, [(each["check"], each["repaired"], each["left"]) for each in result.json["findings"]]


def test_after_the_schema_is_repaired_the_other_checks_are_made(healthy: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, key=str(shelf.put_file("error: broken")))
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    shelf.db.outbox.drop_index("dead")
    assert results(healthy) == (
        1, [("schema", 1, False), ("dead", None, True), ("file-without-message", 1, False)]
    )  # fmt: skip
    assert shelf.db.outbox.count_documents({"key": str(file), "state": "pending"}) == 1
    records = healthy("audit", "--action", "repair", "--json").json["records"]
    assert [record["details"]["check"] for record in records] == ["file-without-message", "schema"]


def test_a_schema_that_cannot_be_repaired_ends_it(healthy: Cli, shelf: Shelf) -> None:
    shelf.db.outbox.drop_index("dead")
    shelf.db.outbox.create_index("batch", name="dead")
    code, [(check, reason, left)] = results(healthy)
    assert (code, check, left) == (1, "schema", True)
    assert "index outbox.dead differs" in reason


def test_all_are_repaired_however_many_there_are(healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.operations.verify.subjects.KEPT", 10)
    monkeypatch.setattr("outbox.operations.verify.mending.KEPT", 10)
    monkeypatch.setattr("outbox.operations.verify.subjects.PAGE", 4)
    monkeypatch.setattr("outbox.operations.verify.subjects.SEARCHED", 20)
    monkeypatch.setattr("outbox.operations.verify.subjects.QUEUED_TOGETHER", 3)
    for _ in range(25):
        shelf.put_file("queued", updated_at=LONG_AGO)
        shelf.put(State.COMPLETED, key=str(shelf.put_file("queued", updated_at=LONG_AGO)))
    assert results(healthy) == (0, [("file-without-message", 25, False), ("completed-but-waiting", 25, False)])
    assert found(healthy, "--pending", "1d") == []


def test_what_one_repair_is_too_small_for_is_left(
    healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.operations.verify.entries.KEPT", 10)
    monkeypatch.setattr("outbox.operations.verify.mending.KEPT", 10)
    monkeypatch.setattr("outbox.operations.verify.entries.PAGE", 5)
    published(shelf, redis, 15)
    redis.xtrim(FILE_STREAM, maxlen=0)
    assert results(healthy) == (1, [("entry-lost", 10, True)])
    assert results(healthy, "--pending", "1d") == (0, [("entry-lost", 5, False)])


def test_what_a_repair_cannot_change_is_left(healthy: Cli, shelf: Shelf) -> None:
    """Its message was published before the server's clock was set back."""
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    shelf.put(State.COMPLETED, key=str(file), published_at=datetime.now(UTC) + timedelta(hours=2))
    assert results(healthy) == (1, [("completed-but-waiting", 0, True)])
    shown = healthy("verify", "--repair").out
    assert "repaired: 0, and a second look still finds it\n" in shown
    assert "mend it: outbox replay --id " in shown


def test_a_repair_founds_no_second_outbox(
    healthy: Cli, bare: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shell in which the database is another one."""
    wrong = shelf.db.client[f"{shelf.db.name}x"]
    monkeypatch.setenv("MONGODB_DATABASE", wrong.name)
    assert results(bare) == (1, [("schema", None, True)])
    assert wrong.list_collection_names() == []
    shown = bare("verify").out
    assert "none of the collections of an outbox is there" in shown
    assert "    mend it: outbox init; or correct MONGODB_DATABASE or OUTBOX_DATABASE, " in shown

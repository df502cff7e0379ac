"""Files and their messages: each defect is planted on real servers, found, explained and mended by what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.message.document import State
from outbox.operations.verify import CHECKS, subjects
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, found, mended_by_command, mended_by_repair, only, published


def test_nothing_is_found_where_all_is_well(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis, 3)
    redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"}, count=2)  # undelivered and in hand: both are under way
    result = healthy("verify")
    assert (result.code, result.out) == (0, f"{len(CHECKS)} checks, and everything is as it should be\n")
    assert healthy("verify", "--json").json == {"findings": []}


def test_a_file_without_a_message(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO, folder_id="x")
    finding = only(healthy, "file-without-message")
    assert finding["examples"] == [str(file)]
    shown = healthy("verify").out
    assert f"! {finding['what']}  [file-without-message]\n    {finding['means']}\n" in shown
    assert f"mend it: outbox enqueue {file}  (or --repair)" in shown
    mended_by_command(healthy, finding)
    assert found(healthy) == []
    shelf.db.outbox.delete_many({"key": str(file)})
    shelf.db.files.update_one({"_id": file}, {"$set": {"updated_at": LONG_AGO}})
    mended_by_repair(healthy, "file-without-message")
    assert found(healthy) == []


def test_a_file_whose_message_was_completed_without_it(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    [id_] = shelf.put(State.COMPLETED, key=str(file))
    finding = only(healthy, "completed-but-waiting")
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(id_) == ["pending"]
    assert found(healthy, "--pending", "1d") == []
    shelf.db.outbox.update_one({"_id": id_}, {"$set": {"state": "completed"}})
    mended_by_repair(healthy, "completed-but-waiting")


def test_a_file_that_is_settled_while_its_messages_are_read(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message is found completed, and so its file was settled, though it was read before as waiting."""
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    shelf.put(State.COMPLETED, key=str(file))
    without_open = subjects._without_open

    async def then_settled(*arguments: Any) -> Any:
        answer = await without_open(*arguments)
        shelf.db.files.update_one({"_id": file}, {"$set": {"parsing": "parsed"}})
        return answer

    monkeypatch.setattr(subjects, "_without_open", then_settled)
    assert found(healthy) == []


def test_messages_about_nothing(healthy: Cli, shelf: Shelf) -> None:
    [id_] = shelf.put(State.SCHEDULED, available_at=datetime.now(UTC) + timedelta(days=1))
    finding = only(healthy, "message-without-file")
    assert finding["examples"] == [str(id_)]
    mended_by_command(healthy, {"mend": finding["mend"].split(",")[0]})
    assert shelf.states(id_) == ["completed"]
    assert found(healthy) == []


@pytest.mark.parametrize("state", [State.SCHEDULED, State.COMPLETED])
def test_what_cannot_be_put_on_record_is_not_mended(healthy: Cli, shelf: Shelf, state: State) -> None:
    """A message about nothing, which is completed; and a completed one whose file waits, which is replayed."""
    if state is State.SCHEDULED:
        [id_] = shelf.put(state, available_at=datetime.now(UTC) + timedelta(days=1))
    else:
        [id_] = shelf.put(state, key=str(shelf.put_file("queued", updated_at=LONG_AGO)))
    assert len(found(healthy)) == 1
    shelf.db.command("collMod", "outbox_audit", validator={"who": "nobody"})
    try:
        assert healthy("verify", "--repair").code != 0
    finally:
        shelf.db.command("collMod", "outbox_audit", validator={})
    assert shelf.states(id_) == [state.value]


def test_dead_messages(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("error: broken")
    [id_] = shelf.put(State.DEAD, key=str(file))
    finding = only(healthy, "dead")
    assert not finding["repairable"]
    assert "outbox dead list" in finding["mend"]
    assert healthy("dead", "retry", id_).code == 0
    assert "dead" not in found(healthy)


def test_a_dead_message_that_keeps_a_file_waiting(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    shelf.put(State.DEAD, key=str(file))
    assert found(healthy) == ["dead", "dead-but-queued"]
    [finding] = [f for f in healthy("verify", "--json").json["findings"] if f["check"] == "dead-but-queued"]
    mended_by_command(healthy, {"mend": finding["mend"].split(",")[0]})
    assert found(healthy, "--pending", "1d") == []


def test_a_dead_message_about_nothing(healthy: Cli, shelf: Shelf) -> None:
    [id_] = shelf.put(State.DEAD)
    assert found(healthy) == ["dead", "dead-without-file"]
    [finding] = [f for f in healthy("verify", "--json").json["findings"] if f["check"] == "dead-without-file"]
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(id_) == ["gone"]
    assert found(healthy) == []

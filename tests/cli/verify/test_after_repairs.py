"""What verify says after its repairs is how it is then, whatever a server refused, or went away over."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, OperationFailure

from outbox.message.document import State
from outbox.operations import upkeep
from outbox.operations.verify import subjects
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, found
from tests.cli.verify.test_repairing import results


def test_what_a_repair_makes_dead_is_left(healthy: Cli, shelf: Shelf) -> None:
    shelf.put(State.PENDING, stream="nobody's", key=str(shelf.put_file("queued", updated_at=LONG_AGO)))
    code, told = results(healthy)
    assert ("stray", 1, False) in told
    assert ("dead", None, True) in told
    assert code == 1
    assert "dead" in found(healthy)


def test_what_a_repair_stages_for_no_partition_is_left(healthy: Cli, shelf: Shelf) -> None:
    shelf.put(State.SCHEDULED, stream="nobody's", available_at=LONG_AGO)
    code, told = results(healthy)
    assert (code, ("overdue", 1, False) in told, ("stray", None, True) in told) == (1, True, True)
    assert "stray" in found(healthy)


def test_what_a_repair_discards_is_not_left(healthy: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, 2)
    shown = healthy("verify", "--repair")
    assert shown.code == 0
    assert "2 messages are dead  [dead]" in shown.out
    assert "it is no longer so: another repair has dealt with it" in shown.out
    assert found(healthy) == []


def test_of_dead_messages_those_that_are_left_are_counted(healthy: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, 2)
    shelf.put(State.DEAD, key=str(shelf.put_file("error: broken")))
    result = healthy("verify", "--repair", "--json")
    assert [(each["check"], each["count"], each["left"]) for each in result.json["findings"]] == [
        ("dead", 1, True), ("dead-without-file", 2, False),
    ]  # fmt: skip
    assert result.code == 1


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_mongodb_refuses_to_repair_hides_nothing_and_keeps_no_other_repair(
    healthy: Cli, shelf: Shelf, form: list[str]
) -> None:
    shelf.put_file("queued", updated_at=LONG_AGO)
    [nothing] = shelf.put(State.SCHEDULED, available_at=datetime.now(UTC) + timedelta(days=1))
    shelf.db.command("collMod", "files", validator={"nobody": "can"})
    result = healthy("verify", "--repair", *form)
    assert result.code == 1
    assert shelf.states(nothing) == ["completed"]
    if form:
        told = {each["check"]: each for each in result.json["findings"]}
        assert told["message-without-file"]["repaired"] == 1
        assert told["file-without-message"]["left"]
        assert "MongoDB refuses what it is asked" in told["file-without-message"]["repaired"]
    else:
        assert "    not repaired: MongoDB refuses what it is asked (Document failed validation" in result.out
        assert "[message-without-file]" in result.out


def test_who_lacks_a_right_is_told_which_and_the_rest_is_shown(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put_file("queued", updated_at=LONG_AGO)
    words = 'not authorized on app to execute command { update: "files", ordered: true }'

    async def refuse(*_: object, **__: object) -> None:
        raise OperationFailure(words, 13)

    monkeypatch.setattr(subjects, "reparse", refuse)
    told = healthy("verify", "--repair", "--json")
    assert told.code == 1
    [finding] = told.json["findings"]
    assert "MongoDB's user lacks a right (update on app.files)" in finding["repaired"]
    monkeypatch.setattr(subjects, "summaries", refuse)  # and likewise, when it only looks
    shelf.put(State.DEAD, key=str(shelf.put_file("error: broken")))
    assert found(healthy) == ["dead", "not-checked"]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_when_a_server_goes_away_what_is_found_and_done_is_shown(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    shelf.put(State.SCHEDULED, available_at=LONG_AGO)
    shelf.put(State.DEAD, key=str(shelf.put_file("error: broken")))
    shelf.put(State.PENDING, stream="nobody's")

    async def away(*_: object) -> int:
        raise AutoReconnect("connection refused")

    monkeypatch.setattr(upkeep, "bury_strays", away)
    result = healthy("verify", "--repair", *form)
    assert result.code == 3
    if form:
        told = [(each["check"], each["repaired"], each["left"]) for each in result.json["findings"]]
        assert ("overdue", 1, False) in told
        assert ("stray", None, True) in told
        assert ("dead", None, True) in told
    else:
        assert "    repaired: 1\n" in result.out
        assert "[dead]" in result.out


@pytest.mark.parametrize("folder", [ObjectId("65a1f0c2e4b0a1b2c3d4e5f6"), 7])
def test_a_file_whose_folder_is_no_text(healthy: Cli, shelf: Shelf, folder: Any) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO, folder_id=folder)
    assert results(healthy) == (0, [("file-without-message", 1, False)])
    message = shelf.db.outbox.find_one({"key": str(file)})
    assert message
    assert message["fields"]["folder_id"] == str(folder)


def test_a_file_that_cannot_be_queued_keeps_no_others(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "QUEUED_TOGETHER", 2)
    ids = [shelf.put_file("queued", updated_at=LONG_AGO) for _ in range(7)]
    shelf.db.files.update_one({"_id": ids[2]}, {"$set": {"folder_id": "x" * 2_000_000}})
    assert results(healthy) == (1, [("file-without-message", 6, True)])
    keys = {message["key"] for message in shelf.db.outbox.find({"fields.reparse": "true"})}
    assert keys == {str(id_) for id_ in ids} - {str(ids[2])}
    [(check, reason, left)] = results(healthy, "--pending", "1d")[1]
    assert (check, left, "bytes" in reason) == ("file-without-message", True, True)


def test_a_stream_that_was_removed_and_registered_again(
    healthy: Cli, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports = json.dumps([{"name": "exports", "group": "g", "partitions": 1}])

    def means() -> list[str]:
        told = []
        for check, batch, tag in (("redis-ahead", 5, "x"), ("token-ahead", 0, "")):
            redis.hset("{exports}:outbox:0", mapping={"token": 3, "batch": batch, "tag": tag})
            findings = healthy("verify", "--json").json["findings"]
            told += [each["means"] for each in findings if each["check"] == check]
        return told

    monkeypatch.setenv("OUTBOX_STREAMS", exports)
    assert healthy("init").code == 0
    assert ["restored from an older copy. Relays" in told for told in means()] == [True, True]
    monkeypatch.delenv("OUTBOX_STREAMS")
    assert healthy("streams", "remove", "exports", "--yes").code == 0
    monkeypatch.setenv("OUTBOX_STREAMS", exports)
    assert healthy("init").code == 0
    assert ["then nothing is lost" in told for told in means()] == [True, True]

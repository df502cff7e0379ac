"""Documents of the registry that register no stream that is known: operators see them, and go on with the others."""

from __future__ import annotations

from typing import Any

import pytest

from outbox.message.document import State
from outbox.streams.declaration import FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.conftest import healthy as healthy
from tests.cli.verify.findings import only

OTHERS: dict[str, Any] = {"_id": "foo", "x": 1}
LATER: dict[str, Any] = {"_id": "later", "revision": 1, "group": "g", "partitions": "many"}
REMOVE = "outbox streams remove foo"


@pytest.mark.parametrize("command", ["status", "streams list"])
def test_it_is_named_beside_what_is_well(command: str, outbox: Cli, shelf: Shelf) -> None:
    shelf.db.outbox_streams.insert_many([OTHERS, LATER])
    shown = outbox(*command.split())
    assert shown.code == 0
    assert FILE_STREAM in shown.out
    assert REMOVE in shown.out
    assert "'later'" in shown.out
    first, second = outbox(*command.split(), "--json").json["not_understood"]
    assert REMOVE in first
    assert "Use the version that registered it" in second


def test_verify_names_it_and_looks_at_the_rest(healthy: Cli, shelf: Shelf) -> None:
    shelf.db.outbox_streams.insert_one(OTHERS)
    finding = only(healthy, "unreadable-stream")
    assert REMOVE in finding["mend"]
    shelf.put(State.DEAD)
    checks = {one["check"] for one in healthy("verify", "--json").json["findings"]}
    assert {"unreadable-stream", "dead"} <= checks


def test_other_streams_are_paused_and_resumed(outbox: Cli, shelf: Shelf) -> None:
    shelf.db.outbox_streams.insert_many([OTHERS, LATER])
    assert outbox("streams", "pause", FILE_STREAM).code == 0
    assert outbox("streams", "resume", FILE_STREAM).code == 0
    refused = outbox("streams", "pause", "later")
    assert refused.code == 1
    assert "Use the version that registered it" in refused.err


def test_what_others_wrote_is_removed_by_the_command_that_is_named(outbox: Cli, shelf: Shelf) -> None:
    shelf.db.outbox_streams.insert_many([OTHERS, {"_id": "bar", "revision": "1"}])
    stopped = outbox("init")
    assert stopped.code == 1
    assert "outbox streams remove bar" in stopped.err
    [waiting] = shelf.put(State.PENDING, stream="foo")
    assert "1 pending" in outbox("streams", "remove", "foo", "--yes").err
    shelf.db.outbox.delete_one({"_id": waiting})
    for name in ("foo", "bar"):
        assert outbox("streams", "remove", name, "--yes").code == 0
    assert [one["_id"] for one in shelf.db.outbox_streams.find()] == [FILE_STREAM]
    assert outbox("init").code == 0


JOBS = '[{"name": "jobs", "group": "g", "partitions": 1, "priorities": ["low"]}]'


def test_what_others_wrote_is_removed_without_the_leases_of_a_sound_stream(
    bare: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_STREAMS", JOBS)
    assert bare("init").code == 0
    shelf.put(State.PENDING, stream="jobs:low", partition=0)
    shelf.db.outbox_streams.insert_one({"_id": "jobs:low", "x": 1})
    lease = shelf.db.outbox_partitions.find_one({"_id": "jobs:low/0"})
    assert bare("streams", "remove", "jobs:low", "--yes").code == 0
    assert shelf.db.outbox_partitions.find_one({"_id": "jobs:low/0"}) == lease
    assert [one["_id"] for one in shelf.db.outbox_streams.find()] == ["jobs"]


def test_a_stream_that_lost_its_revision_is_not_removed_while_a_message_of_its_priority_waits(
    bare: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gets its revision back by the command that is named."""
    monkeypatch.setenv("OUTBOX_STREAMS", JOBS)
    assert bare("init").code == 0
    [waiting] = shelf.put(State.PENDING, stream="jobs:low", partition=0)
    shelf.db.outbox_streams.update_one({"_id": "jobs"}, {"$unset": {"revision": ""}})
    refused = bare("streams", "remove", "jobs", "--yes")
    assert refused.code == 1
    assert "1 pending" in refused.err
    assert "`outbox status` says what keeps them" in " ".join(refused.err.split())
    change = 'outbox_streams.updateOne({_id: "jobs"}, {$set: {revision: NumberInt(1)}})'
    assert change in bare("status", "--json").json["not_understood"][0]
    for stopped in (bare("init"), bare("relay", "--once")):
        assert stopped.code == 1
        assert change in " ".join(stopped.err.split())
        assert "streams remove" not in stopped.err
    shelf.db.outbox_streams.update_one({"_id": "jobs"}, {"$set": {"revision": 1}})
    assert bare("init").code == 0
    shelf.db.outbox.delete_one({"_id": waiting})
    shelf.db.outbox_streams.update_one({"_id": "jobs"}, {"$unset": {"revision": ""}})
    assert bare("streams", "remove", "jobs", "--yes").code == 0
    assert shelf.db.outbox_partitions.count_documents({}) == 0


def test_two_that_cannot_be_beside_each_other(bare: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later one by name is not understood; what is the other's stays when it is removed."""
    monkeypatch.setenv("OUTBOX_STREAMS", JOBS)
    assert bare("init").code == 0
    shelf.db.outbox_streams.insert_one({"_id": "jobs:low", "revision": 1, "group": "g"})
    for command in ("status", "streams list"):
        shown = bare(*command.split(), "--json")
        assert shown.code == 0
        [named] = shown.json["not_understood"]
        assert "'jobs:low'" in named
        assert "beside 'jobs'" in named
        assert "delete it from outbox_streams" in named
    found = {one["check"]: one["what"] for one in bare("verify", "--json").json["findings"]}
    assert "beside 'jobs'" in found["unreadable-stream"]
    assert bare("streams", "pause", "jobs").code == 0
    for refused in (bare("streams", "pause", "jobs:low"), bare("relay", "--once")):
        assert refused.code == 1
        assert "beside 'jobs'" in refused.err
    assert bare("streams", "remove", "jobs:low", "--yes").code == 0
    assert shelf.db.outbox_partitions.count_documents({"_id": "jobs:low/0"}) == 1


def test_what_is_wrong_with_it_is_said_on_one_line(outbox: Cli, shelf: Shelf) -> None:
    shelf.db.outbox_streams.insert_one(LATER)
    [named] = outbox("streams", "list", "--json").json["not_understood"]
    assert "partitions: Input should be a valid integer" in named
    assert "\n" not in named
    assert "https:" not in named


def test_what_a_later_version_registered_stays(outbox: Cli, shelf: Shelf) -> None:
    """And programs do not start beside it: they would miss a stream."""
    shelf.db.outbox_streams.insert_one(LATER)
    refused = outbox("streams", "remove", "later", "--yes")
    assert refused.code == 1
    assert "Use the version that registered it" in refused.err
    assert shelf.db.outbox_streams.count_documents({"_id": "later"}) == 1
    stopped = outbox("relay", "--once")
    assert "'later'" in stopped.err
    assert stopped.code == 1


def test_a_declared_stream_whose_record_cannot_be_understood(
    outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.db.outbox_streams.insert_one(OTHERS)
    monkeypatch.setenv("OUTBOX_STREAMS", '[{"name": "foo", "group": "g"}]')
    assert REMOVE in outbox("status").out


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(
    "command",
    [
        ("streams", "change", FILE_STREAM, "--partitions", 8, "--seconds"), ("replay", "--yes", "--rate"),
        ("worker", "--silent-seconds"), ("worker", "--stop-seconds"), ("worker", "--handler-seconds"),
    ],
    ids=lambda command: command[-1],
)  # fmt: skip
def test_a_number_that_cannot_be_counted_to_is_refused(command: tuple[object, ...], number: str, cli: Cli) -> None:
    refused = cli(*command, number)
    assert refused.code == 2
    assert str(command[-1]) in refused.err

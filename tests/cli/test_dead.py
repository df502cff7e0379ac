from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from outbox.message.document import State
from outbox.operations.dead import DISCARDED
from tests.cli.conftest import Cli, Shelf
from tests.faults import poison
from tests.giants import filled_up
from tests.outbox.shelf import a_document


def test_a_list_tells_the_reasons_the_newest_first(outbox: Cli, shelf: Shelf) -> None:
    first = shelf.put(State.DEAD, last_error="field 'n' is int 1")
    second = shelf.put(State.DEAD, key="k2", last_error="too large")
    shelf.put(State.PENDING)
    result = outbox("dead", "list")
    assert result.code == 0
    assert result.out.index(str(second[0])) < result.out.index(str(first[0]))
    assert "field 'n' is int 1" in result.out
    listed = outbox("dead", "list", "--json").json
    assert [message["id"] for message in listed["messages"]] == [str(second[0]), str(first[0])]
    assert listed["messages"][0]["last_error"] == "too large"
    assert listed["before"] is None


def test_a_long_list_has_pages(outbox: Cli, shelf: Shelf) -> None:
    ids = sorted(map(str, shelf.put(State.DEAD, 3)), reverse=True)
    first = outbox("dead", "list", "--limit", "2", "--json").json
    assert first["before"] == ids[1]
    rest = outbox("dead", "list", "--before", first["before"], "--json").json
    assert [message["id"] for message in first["messages"] + rest["messages"]] == ids
    assert f"outbox dead list --before {ids[1]}" in outbox("dead", "list", "--limit", "2").out


def test_a_stream_narrows_the_list(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD)
    [other] = shelf.put(State.DEAD, stream="other")
    listed = outbox("dead", "list", "--stream", "other", "--json").json["messages"]
    assert [message["id"] for message in listed] == [str(other)]


@pytest.mark.parametrize("command", [("list",), ("retry", "--all"), ("discard", "--all", "--yes")])
def test_a_stream_that_was_mistyped_is_refused(command: tuple[str, ...], outbox: Cli, shelf: Shelf) -> None:
    """And not taken for one without dead messages."""
    [id_] = shelf.put(State.DEAD)
    result = outbox("dead", *command, "--stream", "file_parsing_quene")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'file_parsing_queue'" in " ".join(result.err.split())
    assert shelf.states(id_) == ["dead"]
    shelf.put(State.DEAD, stream="removed")  # registered no more, and not mistyped
    assert outbox("dead", *command, "--stream", "removed").code in (0, 1)


def test_the_next_page_is_of_the_same(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, 3, at=datetime.now(UTC) - timedelta(days=1))
    ids = sorted(shelf.put(State.DEAD, 3, stream="o'hare"), reverse=True)
    shown = outbox("dead", "list", "--stream", "o'hare", "--limit", 2).out
    [more] = [line.partition(": outbox ")[2] for line in shown.splitlines() if line.startswith("There are more")]
    rest = outbox(*shlex.split(more), "--json").json["messages"]
    assert [message["id"] for message in rest] == [str(ids[2])]


@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_message_holds_does_not_act_on_the_terminal(terminal: bool, outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, key="a[red]b\x1b]0;owned\x07\nc", last_error="[bold]\x1b[2J")
    result = outbox("dead", "list", terminal=terminal)
    assert "\x1b]0" not in result.out
    assert "\x1b[2J" not in result.out
    assert "a[red]b" in result.out
    assert "[bold]" in result.out


def test_everything_about_one_message(outbox: Cli, shelf: Shelf) -> None:
    [id_] = shelf.put(State.DEAD, key="k")
    shown = outbox("dead", "show", id_)
    assert f"id: {id_}\n" in shown.out
    assert "last_error: cannot be sent\n" in shown.out
    assert "  file_id: k\n" in shown.out
    assert outbox("dead", "show", id_, "--json").json["fields"] == {"file_id": "k"}


def test_an_unknown_message_is_told(outbox: Cli) -> None:
    result = outbox("dead", "show", ObjectId())
    assert result.code == 1
    assert "there is no message" in result.err


def test_a_retry_of_some(outbox: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("error: broken")
    ids = shelf.put(State.DEAD, key=str(file)) + shelf.put(State.DEAD, 2)
    result = outbox("dead", "retry", ids[0], ids[1])
    assert (result.code, result.out) == (0, "2 retried\n")
    assert shelf.states(*ids) == ["pending", "pending", "dead"]
    assert shelf.db.files.find_one({"_id": file}, {"_id": 0, "parsing": 1}) == {"parsing": "queued"}


def test_what_fails_for_one_does_not_stop_the_rest(outbox: Cli, shelf: Shelf) -> None:
    [pending] = shelf.put(State.PENDING)
    [dead] = shelf.put(State.DEAD)
    unknown = ObjectId()
    result = outbox("dead", "retry", unknown, pending, dead, "--json")
    assert result.code == 1
    assert result.json["retried"] == 1
    assert [failed["id"] for failed in result.json["failed"]] == [str(unknown), str(pending)]
    assert "2 of 3 messages were not retried" in result.err
    assert f"{pending} is pending" in result.err
    assert shelf.states(dead) == ["pending"]


def test_a_retry_of_all_or_of_all_in_a_stream(outbox: Cli, shelf: Shelf) -> None:
    ids, other = shelf.put(State.DEAD, 3), shelf.put(State.DEAD, stream="other")
    assert outbox("dead", "retry", "--all", "--stream", "file_parsing_queue", "--json").json == {
        "retried": 3, "failed": [],
    }  # fmt: skip
    assert set(shelf.states(*ids)) == {"pending"}
    assert shelf.states(*other) == ["dead"]
    assert outbox("dead", "retry", "--all", "--stream", "file_parsing_queue").out == "0 retried\n"


def test_discarding_asks_first(outbox: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued")
    ids = shelf.put(State.DEAD, key=str(file))
    assert outbox("dead", "discard", ids[0]).code == 2
    refused = outbox("dead", "discard", ids[0], types="n\n")
    assert refused.code == 1
    assert "Delete 1 dead message for good?" in refused.err
    assert shelf.states(*ids) == ["dead"]
    assert outbox("dead", "discard", ids[0], types="y\n").out == "1 discarded\n"
    assert shelf.states(*ids) == ["gone"]
    assert shelf.db.files.find_one({"_id": file}, {"_id": 0, "parsing": 1}) == {"parsing": f"error: {DISCARDED}"}


def test_discarding_all_of_a_stream(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, 2)
    [pending] = shelf.put(State.PENDING)
    assert outbox("dead", "discard", "--all", "--yes", "--json").json == {"discarded": 2, "failed": []}
    assert shelf.db.outbox.count_documents({}) == 1
    assert shelf.states(pending) == ["pending"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--all", "65a1f0c2e4b0a1b2c3d4e5f6"], ["--stream", "s", "65a1f0c2e4b0a1b2c3d4e5f6"], ["zz"]],
)
def test_it_must_be_said_which(arguments: list[str], cli: Cli) -> None:
    assert cli("dead", "retry", *arguments).code == 2


def test_what_was_written_around_the_library_can_be_looked_at_and_put_away(outbox: Cli, shelf: Shelf) -> None:
    made = {**poison.DRAINED, **poison.STRAY}
    for document in made.values():
        shelf.db.outbox.insert_one(document, bypass_document_validation=True)
    waiting = outbox("status", "--json").json["messages"]
    assert waiting["pending"] + waiting["scheduled"] == len(made)
    assert outbox("status").code in (0, 1)
    # At its limit, a document cannot take a reason; a relay empties it.
    full = {"$expr": {"$gte": [{"$bsonSize": "$$ROOT"}, poison.LIMIT]}}
    left = len(made) - shelf.db.outbox.delete_many(full).deleted_count
    shelf.db.outbox.update_many({}, {"$set": {"state": "dead", "last_error": "it was written around the library"}})
    listed = outbox("dead", "list", "--limit", "500", "--json").json["messages"]
    assert len(listed) == left
    assert outbox("dead", "list", "--limit", "500").code == 0
    for id_ in [message["id"] for message in listed if ObjectId.is_valid(str(message["id"]))][::9]:
        assert outbox("dead", "show", id_).code == outbox("dead", "show", id_, "--json").code == 0
    retried = outbox("dead", "retry", "--all", "--json")
    assert retried.out, retried.err
    assert retried.json["retried"]
    shelf.db.outbox.update_many({"state": "pending"}, {"$set": {"state": "dead"}})
    discarded = outbox("dead", "discard", "--all", "--yes", "--json").json
    # Of an id that is no text, what was read leads back to nothing.
    lost = sum("bad text" in name and "id" in name.split() for name in made)
    assert discarded["discarded"] == left - lost
    assert all("\ufffd" in failed["id"] for failed in discarded["failed"])


def test_one_that_is_too_large_to_be_retried_is_named_and_the_rest_are_retried(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.DEAD, 2)
    giant = filled_up(a_document(State.DEAD))
    shelf.db.outbox.insert_one(giant, bypass_document_validation=True)
    ids += shelf.put(State.DEAD, 2)
    result = outbox("dead", "retry", "--all", "--json")
    assert result.code == 1
    [failed] = result.json["failed"]
    assert (result.json["retried"], failed["id"]) == (4, str(giant["_id"]))
    assert "so large that nothing can be added to it" in failed["error"]
    assert shelf.states(*ids) == ["pending"] * 4
    assert shelf.states(giant["_id"]) == ["dead"]


def test_errors_beyond_a_number_are_counted_and_not_kept(
    outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.cli.dead.KEPT", 2)
    shelf.put(State.DEAD, 5, stream="gone")
    result = outbox("dead", "retry", "--all", "--json")
    assert result.code == 1
    assert (len(result.json["failed"]), result.json["more_failed"]) == (2, 3)
    assert "5 of 5 messages were not retried" in result.err

"""Messages about documents that are somewhere else than where this shell looks: they are no messages about nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson import ObjectId

from outbox.cli import verify as command
from outbox.message.document import State
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import listed

STATES = ["pending", "scheduled", "dead"]


def under_way(shelf: Shelf, documents: str) -> list[ObjectId]:
    """A message in each state in which it is completed or deleted when it is about nothing; its document is there."""
    ids = [ObjectId() for _ in STATES]
    shelf.db.client[documents].files.insert_many([{"_id": id_, "parsing": "queued", "version": 1} for id_ in ids])
    return [shelf.put(State(state), key=str(id_))[0] for state, id_ in zip(STATES, ids, strict=True)]


def repaired(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("verify", "--repair", "--json").json["findings"]
    return [each for each in found if each["check"] in ("subject", "message-without-file", "dead-without-file")]


def untouched(shelf: Shelf, ids: list[ObjectId]) -> bool:
    """A scheduled one that is due may be staged: that is another repair."""
    return [state.replace("scheduled", "pending") for state in shelf.states(*ids)] == ["pending", "pending", "dead"]


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (None, ".flies does not exist"),
        ([], None),
        ([{"wings": 2}], ".flies has the field parsing"),
    ],
    ids=["missing", "empty", "of something else"],
)
def test_a_subject_in_a_mistyped_collection_ends_no_message(
    bare: Cli, shelf: Shelf, database: str, monkeypatch: pytest.MonkeyPatch, there: list[dict[str, Any]] | None,
    told: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "PAUSE_SECONDS", 0.01)
    mistyped = {"name": FILE_STREAM, "group": FILE_GROUP, "subject": {"collection": "flies"}}
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([mistyped]))
    assert bare("init").code == 0
    listed(shelf)
    if there is not None:
        shelf.db.create_collection("flies")
    if there:
        shelf.db.flies.insert_many(there)
    ids = under_way(shelf, database)
    found = repaired(bare)
    assert untouched(shelf, ids)
    assert [each["check"] for each in found] == (["subject"] if told else [])
    assert all(told and told in each["what"] and each["repaired"] is None for each in found)


def test_the_application_s_database_that_is_not_set_in_this_shell_ends_no_message(
    bare: Cli, shelf: Shelf, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox is found by OUTBOX_DATABASE, and the documents are looked for where MONGODB_DATABASE is by default."""
    monkeypatch.setattr(command, "PAUSE_SECONDS", 0.01)
    application = f"{database}_app"
    monkeypatch.setenv("OUTBOX_DATABASE", database)
    monkeypatch.setenv("MONGODB_DATABASE", application)
    assert bare("init").code == 0
    listed(shelf)
    try:
        ids = under_way(shelf, application)
        assert repaired(bare) == []
        monkeypatch.delenv("MONGODB_DATABASE")
        [finding] = repaired(bare)
        assert untouched(shelf, ids)
        assert (finding["check"], ".files does not exist" in finding["what"]) == ("subject", True)
        # In the right shell, what is about nothing is still found, and ended.
        monkeypatch.setenv("MONGODB_DATABASE", application)
        shelf.db.client[application].files.delete_many({})
        shelf.db.client[application].files.insert_one({"parsing": "parsed"})
        assert sorted(each["check"] for each in repaired(bare)) == ["dead-without-file", "message-without-file"]
        assert shelf.states(*ids) == ["completed", "completed", "gone"]
    finally:
        shelf.db.client.drop_database(application)

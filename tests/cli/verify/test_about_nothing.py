"""Messages about documents that are gone: one repair deals with all, however many, and walks on past what it cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from outbox.errors import NoSuchMessage
from outbox.message.document import State
from outbox.operations import dead
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import found
from tests.cli.verify.test_repairing import results
from tests.giants import filled_up

MANY = 25


@pytest.fixture(autouse=True)
def few_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.operations.verify.about_nothing.KEPT", 10)
    monkeypatch.setattr("outbox.operations.verify.mending.KEPT", 10)
    monkeypatch.setattr("outbox.operations.verify.about_nothing.PAGE", 4)


def unsent(shelf: Shelf, count: int) -> list[ObjectId]:
    return shelf.put(State.SCHEDULED, count, available_at=datetime.now(UTC) + timedelta(days=1))


def test_all_that_are_not_sent_yet_are_completed(healthy: Cli, shelf: Shelf) -> None:
    ids = unsent(shelf, MANY)
    assert results(healthy) == (0, [("message-without-file", MANY, False)])
    assert set(shelf.states(*ids)) == {"completed"}
    [record] = healthy("audit", "--action", "repair", "--json").json["records"]
    assert record["count"] == MANY
    assert found(healthy) == []


def test_all_dead_ones_are_discarded(healthy: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.DEAD, MANY)
    assert results(healthy) == (0, [("dead", None, False), ("dead-without-file", MANY, False)])
    assert set(shelf.states(*ids)) == {"gone"}
    assert found(healthy) == []


def test_one_without_room_for_a_change_is_left_and_keeps_no_others(healthy: Cli, shelf: Shelf) -> None:
    full, *others = unsent(shelf, MANY)
    message = shelf.db.outbox.find_one({"_id": full})
    assert message
    shelf.db.outbox.replace_one({"_id": full}, filled_up(message), bypass_document_validation=True)
    assert results(healthy) == (1, [("message-without-file", MANY - 1, True)])
    assert set(shelf.states(*others)) == {"completed"}
    assert shelf.states(full) == ["scheduled"]


def test_one_that_another_operator_discards_is_not_counted_and_keeps_no_others(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = shelf.put(State.DEAD, MANY)
    whole = dead.discard
    tried: list[ObjectId] = []

    async def discard(database: Any, streams: Any, message: ObjectId) -> None:
        if not tried:
            await whole(database, streams, message)
        tried.append(message)
        await whole(database, streams, message)

    monkeypatch.setattr(dead, "discard", discard)
    assert results(healthy) == (0, [("dead", None, False), ("dead-without-file", MANY - 1, False)])
    assert set(shelf.states(*ids)) == {"gone"}
    assert sorted(tried) == sorted(ids)


def test_one_that_cannot_be_discarded_is_met_once_more_at_most(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk ends, whatever it leaves."""
    kept, *others = shelf.put(State.DEAD, MANY)
    whole = dead.discard
    tried: list[ObjectId] = []

    async def discard(database: Any, streams: Any, message: ObjectId) -> None:
        tried.append(message)
        if message == kept:
            raise NoSuchMessage("so it seems")
        await whole(database, streams, message)

    monkeypatch.setattr(dead, "discard", discard)
    assert results(healthy) == (1, [("dead", None, True), ("dead-without-file", MANY - 1, True)])
    assert shelf.states(kept) == ["dead"]
    assert set(shelf.states(*others)) == {"gone"}
    assert tried.count(kept) <= 2

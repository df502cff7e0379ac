"""`outbox dead ... --all` is about what was dead when it was asked for, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from outbox.cli import dead as cli_dead
from outbox.database import Database
from outbox.message.document import State
from outbox.operations import dead
from outbox.streams.declaration import Streams
from tests.cli.conftest import Cli, Shelf


def dies(shelf: Shelf, *ids: ObjectId) -> None:
    """As a worker's failure or a relay makes it dead, by the server's clock."""
    change = {"$set": {"state": "dead", "last_error": "again"}, "$currentDate": {"died_at": True}}
    shelf.db.outbox.update_many({"_id": {"$in": ids}}, change)


def test_what_dies_while_the_question_stands_is_not_deleted(
    outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, later = shelf.put(State.DEAD, 2), shelf.put(State.PUBLISHED)
    questions = []

    def confirm(question: str, *, yes: bool) -> None:
        questions.append(question)
        dies(shelf, *later)

    monkeypatch.setattr(cli_dead, "confirm", confirm)
    result = outbox("dead", "discard", "--all", types="")
    assert (result.code, result.out, questions) == (0, "2 discarded\n", ["Delete 2 dead messages for good?"])
    assert shelf.states(*ids, *later) == ["gone", "gone", "dead"]


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_one_that_is_retried_and_dies_again_meanwhile_stays(
    action: str, outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    [id_] = shelf.put(State.DEAD)
    real: Callable[..., Awaitable[None]] = getattr(dead, action)

    async def later(database: Database, streams: Streams, message: ObjectId, **options: Any) -> None:
        dies(shelf, message)  # somebody has retried it since its id was read
        await real(database, streams, message, **options)

    monkeypatch.setattr(dead, action, later)
    result = outbox("dead", action, "--all", *(["--yes"] if action == "discard" else []))
    assert result.code == 1
    assert f"message {id_} was retried meanwhile, and died again: it stays as it is" in result.err
    assert shelf.states(id_) == ["dead"]


def test_dead_messages_without_a_time_are_meant_as_well(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.DEAD, died_at=datetime.now(UTC))
    ids = shelf.put(State.DEAD)
    shelf.db.outbox.update_one({"_id": ids[0]}, {"$unset": {"died_at": ""}})
    assert outbox("dead", "discard", "--all", "--yes").out == "2 discarded\n"

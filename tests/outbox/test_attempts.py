"""Counting in messages that were written around the library: what is no number counts as none."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId

from outbox.database import Database
from outbox.message import attempts
from outbox.message.document import Sent, State
from outbox.message.transitions import Cause
from outbox.operations import dead, replay
from outbox.streams.declaration import FILES, Streams
from tests.outbox.shelf import Shelf

WORDS: list[Any] = ["three", ["a"]]
COUNTERS = ("retried", "replayed", "forgiven", "failed", "rescued", "returned", "taken_over", "taken_from")


async def odd(shelf: Shelf, state: State, words: Any, **values: Any) -> ObjectId:
    """A message of which every counter is no number."""
    [id_] = await shelf.put(state, **dict.fromkeys(COUNTERS, words), **values)
    return id_


@pytest.mark.parametrize("words", WORDS)
async def test_a_retry(words: Any, db: Database, streams: Streams, shelf: Shelf) -> None:
    id_ = await odd(shelf, State.DEAD, words, attempts=words, suspect="outbox:w")
    await dead.retry(db, streams, id_)
    message = await shelf.get(id_)
    assert (message["state"], message["retried"], message["forgiven"]) == ("pending", 1, 1)


@pytest.mark.parametrize("words", WORDS)
async def test_a_replay(words: Any, db: Database, shelf: Shelf) -> None:
    id_ = await odd(shelf, State.PUBLISHED, words)
    assert await replay.replay(db, replay.Selection(stream=FILES.name)) == replay.Replayed(1, 1)
    assert (await shelf.get(id_))["replayed"] == 1


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("cause", list(Cause))
async def test_another_try(cause: Cause, words: Any, db: Database, shelf: Shelf) -> None:
    id_ = await odd(shelf, State.PUBLISHED, words)
    assert await attempts.again(db, Sent(id_, 1), cause, forgive=1)
    message = await shelf.get(id_)
    assert (message["state"], message[cause], message["forgiven"]) == ("pending", 1, 1)


@pytest.mark.parametrize("words", WORDS)
async def test_a_take_over(words: Any, db: Database, shelf: Shelf) -> None:
    id_ = await odd(shelf, State.PUBLISHED, words)
    message = await attempts.take_over(db, Sent(id_, 1), "$holder", "$taker")
    assert message
    assert (message["suspect"], message["taker"], message["taken_over"]) == ("$holder", "$taker", 1)
    assert message["taken_from"][-1] == "$holder"


@pytest.mark.parametrize("words", WORDS)
async def test_its_death(words: Any, db: Database, shelf: Shelf) -> None:
    id_ = await odd(shelf, State.PUBLISHED, words, entries={"first": "1-0", "last": "1-0"})
    died = await attempts.die(db, FILES, Sent(id_, 1), Cause.FAILED, message={"key": "k"}, reason="$why", error="why")
    assert died
    message = await shelf.get(id_)
    assert (message["state"], message["failed"], message["last_error"]) == ("dead", 1, "$why")
    assert message["died_at"] == message["failed_at"]
    assert "entries" not in message

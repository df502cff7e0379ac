from __future__ import annotations

from dataclasses import replace

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect

from outbox import NoSuchMessage, NotDead, Priority, State, Stream, Streams, UndeclaredStream
from outbox.database import OUTBOX, Database, Document
from outbox.message import subjects
from outbox.operations import dead
from outbox.operations.dead import DISCARDED
from outbox.servers import transaction
from outbox.streams.declaration import FILES
from tests.outbox.shelf import Shelf


async def test_a_retried_message_is_pending_and_its_last_error_can_still_be_read(
    db: Database, streams: Streams, shelf: Shelf
) -> None:
    [id_] = await shelf.put(State.DEAD, attempts=4)
    await dead.retry(db, streams, id_)
    message = await shelf.get(id_)
    assert (message["state"], message["attempts"], message["last_error"]) == ("pending", 4, "cannot be sent")
    assert message["retried"] == 1
    assert "died_at" not in message


@pytest.mark.parametrize(
    ("parsing", "afterwards"),
    [("error: no such page", "queued"), ("error", "queued"), ("queued", "queued"), ("parsed", "parsed")],
)
async def test_a_file_that_ended_in_error_is_queued_again(
    parsing: str, afterwards: str, db: Database, streams: Streams, shelf: Shelf
) -> None:
    key = await shelf.put_file(parsing)
    [id_] = await shelf.put(State.DEAD, key=key)
    await dead.retry(db, streams, id_)
    assert await shelf.parsing(key) == afterwards
    file = await shelf.files.find_one({"_id": ObjectId(key)})
    assert file
    assert file["version"] == (1 if parsing == afterwards else 2)


async def test_a_stream_without_a_subject_touches_no_file(db: Database, shelf: Shelf) -> None:
    key = await shelf.put_file("error: x")
    ids = await shelf.put(State.DEAD, 2, key=key, stream="exports")
    streams = Streams([Stream("exports", "g")])
    await dead.retry(db, streams, ids[0])
    await dead.discard(db, streams, ids[1])
    assert await shelf.parsing(key) == "error: x"


@pytest.mark.parametrize("state", [state for state in State if state is not State.DEAD])
async def test_only_a_dead_message_can_be_retried_or_discarded(
    state: State, db: Database, streams: Streams, shelf: Shelf
) -> None:
    key = await shelf.put_file("error: x")
    [id_] = await shelf.put(state, key=key)
    for action in (dead.retry, dead.discard):
        with pytest.raises(NotDead, match=f"{id_} is {state}"):
            await action(db, streams, id_)
    assert await shelf.states(id_) == [state]
    assert await shelf.parsing(key) == "error: x"


async def test_an_unknown_message_is_told(db: Database, streams: Streams) -> None:
    for action in (dead.retry, dead.discard):
        with pytest.raises(NoSuchMessage):
            await action(db, streams, ObjectId())


async def test_a_message_that_no_relay_would_drain_is_not_retried(db: Database, streams: Streams, shelf: Shelf) -> None:
    [id_] = await shelf.put(State.DEAD, stream="gone")
    with pytest.raises(UndeclaredStream):
        await dead.retry(db, streams, id_)
    assert await shelf.states(id_) == ["dead"]
    await dead.discard(db, streams, id_)


async def test_a_discarded_message_is_gone_and_its_file_says_so(db: Database, streams: Streams, shelf: Shelf) -> None:
    key = await shelf.put_file("queued")
    [id_] = await shelf.put(State.DEAD, key=key)
    await dead.discard(db, streams, id_)
    assert await shelf.messages.count_documents({}) == 0
    assert await shelf.parsing(key) == f"error: {DISCARDED}"


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.PUBLISHED])
async def test_a_file_that_another_message_is_on_its_way_for_still_waits(
    state: State, db: Database, streams: Streams, shelf: Shelf
) -> None:
    key = await shelf.put_file("queued")
    [id_] = await shelf.put(State.DEAD, key=key)
    await shelf.put(state, key=key)
    await dead.discard(db, streams, id_)
    assert await shelf.parsing(key) == "queued"


async def test_a_settled_file_is_left_as_it_is(db: Database, streams: Streams, shelf: Shelf) -> None:
    key = await shelf.put_file("parsed")
    [id_] = await shelf.put(State.DEAD, key=key)
    await dead.discard(db, streams, id_)
    assert await shelf.parsing(key) == "parsed"


async def test_a_message_of_another_priority_is_on_its_way_for_the_file_as_well(db: Database, shelf: Shelf) -> None:
    streams = Streams([replace(FILES, priorities=(Priority.HIGH,))])
    key = await shelf.put_file("queued")
    [id_] = await shelf.put(State.DEAD, key=key)
    await shelf.put(State.PENDING, key=key, stream=f"{FILES.name}:high")
    await dead.discard(db, streams, id_)
    assert await shelf.parsing(key) == "queued"


async def test_poison_can_be_retried_and_discarded(db: Database, streams: Streams, shelf: Shelf) -> None:
    ids = await shelf.put(State.DEAD, 2, fields=None, position="none")
    await shelf.messages.update_many({}, {"$set": {"key": {"not": "text"}}})
    await dead.retry(db, streams, ids[0])
    await dead.discard(db, streams, ids[1])
    assert await shelf.states(ids[0]) == ["pending"]


async def test_all_dead_messages_or_those_of_a_stream(db: Database, shelf: Shelf) -> None:
    ids = await shelf.put(State.DEAD, 3)
    other = await shelf.put(State.DEAD, 2, stream="other")
    await shelf.put(State.PENDING)
    assert {id_ async for id_ in dead.ids(db)} == {*ids, *other}
    assert [id_ async for id_ in dead.ids(db, stream="other")] == other
    assert (await dead.count(db), await dead.count(db, stream="other")) == (5, 2)


async def test_an_empty_name_is_that_of_no_stream(db: Database, shelf: Shelf) -> None:
    """It comes from a variable that is not set, and whoever discards by it means one stream."""
    await shelf.put(State.DEAD, 3)
    assert [id_ async for id_ in dead.ids(db, stream="")] == []
    assert await dead.count(db, stream="") == 0


async def test_a_retry_whose_commit_was_not_confirmed_is_found_to_have_happened(
    db: Database, streams: Streams, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transaction.run asks when the replies to the commit are lost, once with and once without its effects."""
    asked: list[bool] = []
    real = transaction.run

    async def asking(client: AsyncMongoClient[Document], body: object, **options: object) -> None:
        happened = options["happened"]
        asked.append(await happened())  # type: ignore[operator]
        await real(client, body, **options)  # type: ignore[arg-type]
        asked.append(await happened())  # type: ignore[operator]

    monkeypatch.setattr(transaction, "run", asking)
    ids = await shelf.put(State.DEAD, 2, retried=3)
    await dead.retry(db, streams, ids[0])
    await dead.discard(db, streams, ids[1])
    assert asked == [False, True, False, True]


async def test_nothing_is_half_done_when_the_server_fails(
    db: Database, streams: Streams, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await shelf.put_file("error: x")
    [id_] = await shelf.put(State.DEAD, key=key)

    async def failing(*_: object) -> None:
        raise AutoReconnect("gone")

    monkeypatch.setattr(subjects, "change", failing)
    with pytest.raises(AutoReconnect):
        await dead.retry(db, streams, id_)
    assert await db[OUTBOX].count_documents({"state": "dead"}) == 1

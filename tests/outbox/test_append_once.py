"""What can be read only once is refused: a transaction that runs again would append nothing, without an error."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from outbox import Draft, InvalidMessage, Outbox, Streams
from outbox.database import Database, Document
from outbox.errors import UsageError
from outbox.streams.declaration import FILE_STREAM
from tests.outbox.shelf import Shelf

Client = AsyncMongoClient[Document]


def drafts(count: int = 3) -> list[Draft]:
    return [Draft({"file_id": str(n)}, str(n)) for n in range(count)]


class Shared:
    """Not an iterator itself, and it gives the same one to everybody who asks."""

    def __init__(self) -> None:
        self._one = iter(drafts())

    def __iter__(self) -> Iterator[Draft]:
        return self._one


class Wrapped:
    """A generator function over something that is used up."""

    def __init__(self) -> None:
        self._one = iter(drafts())

    def __iter__(self) -> Iterator[Draft]:
        yield from self._one


async def _later() -> Any:
    for draft in drafts():
        yield draft


ONCE: dict[str, Callable[[], Any]] = {
    "generator": lambda: (draft for draft in drafts()),
    "iterator": lambda: iter(drafts()),
    "map": lambda: map(Draft, [{"file_id": "1"}], ["1"]),
    "filter": lambda: filter(None, drafts()),
    "zip": lambda: zip(drafts(), strict=True),
    "chain": lambda: itertools.chain(drafts(), drafts()),
    "reversed": lambda: reversed(drafts()),
    "enumerate": lambda: enumerate(drafts()),
    "dict iterator": lambda: iter({1: drafts()[0]}.values()),
    "file": lambda: io.StringIO("a\nb\n"),
    "shared": Shared,
    "wrapped": Wrapped,
    "async generator": _later,
    "one draft": lambda: drafts()[0],
    "text": lambda: "abc",
    "mapping": lambda: {draft.key: draft for draft in drafts()},
    "none": lambda: None,
}


@pytest.fixture
def outbox(db: Database, streams: Streams) -> Outbox:
    return Outbox(streams, database=db.name)


async def test_what_can_be_read_only_once_is_refused_by_the_call(
    mongo: Client, mongodb_uri: str, outbox: Outbox, shelf: Shelf
) -> None:
    for made in ONCE.values():
        async with mongo.start_session() as session, await session.start_transaction():
            with pytest.raises(UsageError, match="list"):
                outbox.append_many(session, FILE_STREAM, made())
    with MongoClient[Document](mongodb_uri) as sync_mongo, sync_mongo.start_session() as sync_session:
        for made in ONCE.values():
            with sync_session.start_transaction(), pytest.raises(UsageError, match="list"):
                outbox.append_many(sync_session, FILE_STREAM, made())
    assert await shelf.messages.count_documents({}) == 0


async def test_what_is_made_in_front_of_a_transaction_that_runs_twice_is_appended(
    mongo: Client, outbox: Outbox, shelf: Shelf
) -> None:
    """The record is never there without its messages."""
    for given, expected in ((drafts(), 3), (tuple(drafts()), 3), (dict(enumerate(drafts())).values(), 3)):
        await shelf.messages.delete_many({})
        assert await _twice(mongo, outbox, shelf, given) == expected
    await shelf.files.delete_many({})
    with pytest.raises(UsageError, match="list"):
        await _twice(mongo, outbox, shelf, (draft for draft in drafts()))
    assert await shelf.files.count_documents({}) == 0


async def _twice(mongo: Client, outbox: Outbox, shelf: Shelf, given: Any) -> int:
    runs = 0

    async def body(session: AsyncClientSession) -> None:
        nonlocal runs
        runs += 1
        await shelf.files.insert_one({"parsing": "queued"}, session=session)
        await outbox.append_many(session, FILE_STREAM, given)
        if runs == 1:
            raise OperationFailure("planted", details={"errorLabels": ["TransientTransactionError"]})

    async with mongo.start_session() as session:
        await session.with_transaction(body)
    return await shelf.messages.count_documents({})


class UsedUp(Mapping[str, str]):
    """A mapping whose names can be walked over once."""

    def __init__(self, **pairs: str) -> None:
        self._pairs, self._names = pairs, iter(pairs)

    def __getitem__(self, name: str) -> str:
        return self._pairs[name]

    def __iter__(self) -> Iterator[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._pairs)


@pytest.mark.parametrize("name", ["fields", "headers"])
async def test_fields_and_headers_are_there_at_each_run_or_refused(
    name: str, mongo: Client, outbox: Outbox, shelf: Shelf
) -> None:
    given: dict[str, Any] = {"fields": {"file_id": "1"}, "headers": {"traceparent": "t"}}
    given[name] = UsedUp(a="1")
    async with mongo.start_session() as session, await session.start_transaction():
        await outbox.append(session, FILE_STREAM, given["fields"], key="1", headers=given["headers"])
        with pytest.raises(InvalidMessage, match="pass a dict"):
            outbox.append(session, FILE_STREAM, given["fields"], key="1", headers=given["headers"])
    for wrong in (iter([("a", "1")]), (pair for pair in [("a", "1")]), zip("a", "1", strict=True)):
        given[name] = wrong
        async with mongo.start_session() as session, await session.start_transaction():
            with pytest.raises(InvalidMessage, match="mapping"):
                outbox.append(session, FILE_STREAM, given["fields"], key="1", headers=given["headers"])

"""Appends of an async session at once, and such as outlast the transaction in which they were called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from outbox import Draft, NoTransaction, Outbox, Streams
from outbox.database import Database, Document
from outbox.streams.declaration import FILE_STREAM
from tests.outbox.shelf import Shelf

Client = AsyncMongoClient[Document]
MANY = 10


class Inserts(CommandListener):
    """How many inserts were under way at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "insert":
            self.now += 1
            self.most = max(self.most, self.now)

    def succeeded(self, event: CommandSucceededEvent | CommandFailedEvent) -> None:
        self.now -= event.command_name == "insert"

    failed = succeeded


@pytest.fixture
def inserts() -> Inserts:
    return Inserts()


@pytest.fixture
async def client(mongodb_uri: str, inserts: Inserts) -> AsyncIterator[Client]:
    async with AsyncMongoClient[Document](mongodb_uri, event_listeners=[inserts]) as client:
        yield client


@pytest.fixture
def outbox(db: Database, streams: Streams) -> Outbox:
    return Outbox(streams, database=db.name)


async def test_appends_of_one_session_at_once_are_sent_one_after_the_other(
    client: Client, inserts: Inserts, outbox: Outbox, shelf: Shelf
) -> None:
    """MongoDB takes one at a time. Of several it refuses some, the transaction runs again, and what was left over of
    the run before would be in it too."""
    await asyncio.gather(*(client.admin.command("ping") for _ in range(MANY)))  # a connection for each
    runs = 0

    async def body(session: AsyncClientSession) -> None:
        nonlocal runs
        runs += 1
        await asyncio.gather(*(outbox.append(session, FILE_STREAM, {"n": str(n)}, key="k") for n in range(MANY)))

    async with client.start_session() as session:
        await session.with_transaction(body)
    assert (runs, inserts.most) == (1, 1)
    stored = await shelf.messages.find({}).sort("position").to_list()
    assert [message["fields"]["n"] for message in stored] == [str(n) for n in range(MANY)]


async def test_an_append_that_is_awaited_after_its_transaction_writes_nothing(
    client: Client, outbox: Outbox, shelf: Shelf
) -> None:
    """Neither outside of any transaction nor in the next one of its session, whatever form it has."""
    for another in (False, True):
        async with client.start_session() as session:
            async with await session.start_transaction():
                late = [
                    outbox.append(session, FILE_STREAM, {"a": "b"}, key="k", unique="once"),
                    outbox.append(session, FILE_STREAM, {"a": "b"}, key="k"),
                    outbox.append_each(session, FILE_STREAM, Draft({"a": "b"}, key="k")),
                ]
                await outbox.append(session, FILE_STREAM, {"a": "in time"}, key="k")
            if another:
                await session.start_transaction()
            for each in late:
                with pytest.raises(NoTransaction, match="has ended, so nothing was appended: await each append"):
                    await each
            if another:
                await session.commit_transaction()
    assert [message["fields"] async for message in shelf.messages.find()] == [{"a": "in time"}] * 2


async def test_what_is_left_over_of_the_first_run_is_not_in_the_second(
    client: Client, outbox: Outbox, shelf: Shelf
) -> None:
    """A task that failed leaves others behind, which go on while `with_transaction` runs its function again."""
    first_run: list[asyncio.Task[object]] = []
    second_run = asyncio.Event()

    async def body(session: AsyncClientSession) -> None:
        await shelf.files.find_one({})
        if first_run:
            await outbox.append(session, FILE_STREAM, {"run": "2"}, key="k")
            second_run.set()
            with suppress(NoTransaction):
                await first_run[0]
            return
        appended = outbox.append(session, FILE_STREAM, {"run": "1"}, key="k")

        async def later() -> None:
            await second_run.wait()
            await appended

        first_run.append(asyncio.create_task(later()))
        raise OperationFailure("planted", details={"errorLabels": ["TransientTransactionError"]})

    async with client.start_session() as session:
        await session.with_transaction(body)
    assert [message["fields"] async for message in shelf.messages.find()] == [{"run": "2"}]

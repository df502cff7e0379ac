"""What is decided right after a failover, while the primary shows less than what is committed. On a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from pymongo import AsyncMongoClient

from outbox import State, Stream, Streams
from outbox.database import OUTBOX, Database, Document
from outbox.embedded import Mongod
from outbox.operations import registration, upkeep
from outbox.operations.registration import NotNow
from outbox.servers.connections import NAME
from outbox.streams import registry
from outbox.streams.declaration import FILE_STREAM
from tests.outbox.shelf import Shelf, a_document
from tests.waiting import eventually


@pytest.fixture(scope="module")
def elected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod of this module's own, which can be kept from learning what is committed."""
    parameters = ["--setParameter", "enableTestCommands=1"]
    with Mongod(tmp_path_factory.mktemp("mongod"), extra_args=parameters) as server:
        yield server


@pytest.fixture
def mongodb_uri(elected: Mongod) -> str:
    return elected.uri


@asynccontextmanager
async def unaware(server: Mongod, db: Database) -> AsyncIterator[Database]:
    """As a new primary is for a while. What is written here is there, and no read of a majority shows it."""
    with server.client() as client:
        client.admin.command("configureFailPoint", "disableSnapshotting", mode="alwaysOn")
        try:
            quick: AsyncMongoClient[Document] = AsyncMongoClient(server.uri, w=1)
            async with quick:
                yield Database(quick, db.name)
        finally:
            client.admin.command("configureFailPoint", "disableSnapshotting", mode="off")
            client.admin.command("appendOplogNote", 1, data={"note": "with which it learns at once"})


def something_waits(server: Mongod) -> bool:
    """Whether a statement of ours has not been answered for half a second: it waits for a majority."""
    ours = {"microsecs_running": {"$gt": 500_000}, "appName": NAME, "command.hello": {"$exists": False}}
    with server.client() as client, client.admin.aggregate([{"$currentOp": {}}, {"$match": ours}]) as found:
        return bool(found.to_list())


async def test_what_was_registered_right_before_a_failover_has_no_strays(
    db: Database, shelf: Shelf, elected: Mongod
) -> None:
    [stray] = await shelf.put(State.PENDING, stream="never declared")
    message = a_document(State.PENDING, stream="late", partition=0)
    async with unaware(elected, db) as quick:
        await registry.register(quick, Streams([Stream("late", "g", partitions=1)]))
        await quick[OUTBOX].insert_one(message)
        burying = asyncio.create_task(upkeep.bury_strays(db))
        await eventually(lambda: something_waits(elected), what="it waits for what it reads, or has written")
    assert await burying == 1
    assert await shelf.states(stray, message["_id"]) == ["dead", "pending"]


async def test_a_stream_is_not_removed_whose_messages_were_appended_right_before_a_failover(
    db: Database, elected: Mongod
) -> None:
    async with unaware(elected, db) as quick:
        await quick[OUTBOX].insert_one(a_document(State.PENDING))
        removing = asyncio.create_task(registration.remove(db, FILE_STREAM))
        await eventually(lambda: something_waits(elected), what="it waits for what it reads, or has written")
    with pytest.raises(NotNow, match="1 pending"):
        await removing

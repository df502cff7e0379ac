"""What becomes of a transaction when its commit, or the reply to it, is lost. On a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pymongo
import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from outbox import CommitUnknown
from outbox.database import Document
from outbox.embedded import Mongod
from outbox.servers import transaction
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from tests.outbox.lossy import Proxy

SECONDS = 1.0
"""How long the driver tries where it tries in vain."""
LONG = 30.0
"""For what succeeds, on a machine that stands still for a moment. Less than the minute in which a server gives up a
transaction by itself."""
FOREVER = 1_000_000


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod that fails commands on demand."""
    parameters = ["--setParameter", "enableTestCommands=1"]
    with Mongod(tmp_path_factory.mktemp("faulty"), extra_args=parameters) as server:
        yield server


@contextmanager
def failing(server: Mongod, mode: str | Document, **data: Any) -> Iterator[None]:
    """While this lasts, commits fail at the server as `data` says."""
    command = {
        "configureFailPoint": "failCommand",
        "mode": mode,
        "data": {"failCommands": ["commitTransaction"], **data},
    }
    with server.client() as client:
        client.admin.command(command)
        try:
            yield
        finally:
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


class Account:
    """What a transaction raises by one, and the question whether it did."""

    def __init__(self, server: Mongod, client: AsyncMongoClient[Document]) -> None:
        self.server = server
        self.client = client
        self.accounts = client.test.accounts
        self.asked = 0
        self.in_vain = False
        """Whether no commit is ever confirmed: the driver has `SECONDS` for it then, once all is written."""
        self.id = uuid4().hex
        with server.client() as direct:
            direct.test.accounts.insert_one({"_id": self.id, "balance": 0})

    async def raise_it(self, session: AsyncClientSession) -> str:
        await self.accounts.update_one({"_id": self.id}, {"$inc": {"balance": 1}}, session=session)
        if self.in_vain:
            pymongo.timeout(SECONDS).__enter__()  # it ends with the limit that `run` has set, inside of which it is
        return "raised"

    async def happened(self) -> bool:
        self.asked += 1
        await self.accounts.update_one({"_id": self.id}, {"$inc": {"asked": 1}})
        return self.balance == 1

    @property
    def balance(self) -> int:
        with self.server.client() as direct:
            found = direct.test.accounts.find_one({"_id": self.id})
        assert found
        return int(found["balance"])

    async def run(self, seconds: float = LONG) -> str:
        return await transaction.run(self.client, self.raise_it, happened=self.happened, seconds=seconds)


async def test_what_the_body_returns_is_returned(faulty: Mongod) -> None:
    async with Proxy(faulty).open() as client:
        account = Account(faulty, client)
        assert await account.run() == "raised"
    assert (account.balance, account.asked) == (1, 0)


async def test_a_reply_lost_once_is_the_drivers_to_ask_for_again(faulty: Mongod) -> None:
    proxy = Proxy(faulty)
    async with proxy.open() as client:
        account = Account(faulty, client)
        proxy.lose = 1
        assert await account.run() == "raised"
    assert (proxy.lost, account.balance, account.asked) == (1, 1, 0)


async def test_replies_lost_for_longer_than_the_driver_tries_are_found_out(faulty: Mongod) -> None:
    proxy = Proxy(faulty)
    async with proxy.open() as client:
        account = Account(faulty, client)
        proxy.lose = FOREVER
        account.in_vain = True
        assert await account.run() == "raised"
    assert proxy.lost
    assert (account.balance, account.asked) == (1, 1)


async def test_a_commit_that_never_arrives_has_not_happened(faulty: Mongod) -> None:
    """Its transaction is still open at the server, and holds what it wrote: it must be ended to find out."""
    async with connect_mongo(load(OutboxSettings, mongodb_uri=faulty.uri)) as client:
        account = Account(faulty, client)
        account.in_vain = True
        with failing(faulty, "alwaysOn", closeConnection=True), pytest.raises(PyMongoError):
            await account.run()
        assert account.asked == 1
        await asyncio.wait_for(account.happened(), LONG)  # nothing is held any more
    assert account.balance == 0


async def test_a_commit_that_a_majority_does_not_confirm_is_found_out(faulty: Mongod) -> None:
    async with connect_mongo(load(OutboxSettings, mongodb_uri=faulty.uri)) as client:
        account = Account(faulty, client)
        account.in_vain = True
        with failing(faulty, "alwaysOn", writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"}):
            assert await account.run() == "raised"
    assert account.balance == 1


async def test_an_outcome_that_cannot_be_asked_for_is_unknown(faulty: Mongod) -> None:
    proxy = Proxy(faulty)
    async with proxy.open() as client:
        account = Account(faulty, client)
        proxy.lose = FOREVER
        account.in_vain = True

        async def unreachable() -> bool:
            raise AutoReconnect("gone")

        with pytest.raises(CommitUnknown, match="does not say"):
            await transaction.run(client, account.raise_it, happened=unreachable, seconds=LONG)

        async def silent() -> bool:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        with pytest.raises(CommitUnknown):
            await transaction.run(client, account.raise_it, happened=silent, seconds=3 * SECONDS)


async def test_an_error_of_the_body_ends_the_transaction_and_nothing_is_asked(faulty: Mongod) -> None:
    async with Proxy(faulty).open() as client:
        account = Account(faulty, client)

        async def body(session: AsyncClientSession) -> None:
            await account.raise_it(session)
            raise RuntimeError("changed its mind")

        with pytest.raises(RuntimeError, match="changed its mind"):
            await transaction.run(client, body, happened=account.happened, seconds=LONG)
    assert (account.balance, account.asked) == (0, 0)


async def test_an_error_that_the_server_is_sure_of_is_not_asked_about(faulty: Mongod) -> None:
    async with connect_mongo(load(OutboxSettings, mongodb_uri=faulty.uri)) as client:
        account = Account(faulty, client)
        with failing(faulty, {"times": 1}, errorCode=2), pytest.raises(OperationFailure):
            await account.run()
    assert account.asked == 0


async def test_a_server_that_was_away_all_the_time_is_not_asked(faulty: Mongod) -> None:
    uri = "mongodb://127.0.0.1:9/?directConnection=true"
    async with connect_mongo(load(OutboxSettings, mongodb_uri=uri), server_selection_seconds=0.2) as client:
        account = Account(faulty, client)
        with pytest.raises(PyMongoError) as caught:
            await account.run(SECONDS)
        assert caught.value.timeout
    assert account.asked == 0


async def test_a_conflict_runs_the_body_again(faulty: Mongod) -> None:
    async with connect_mongo(load(OutboxSettings, mongodb_uri=faulty.uri)) as client:
        account = Account(faulty, client)
        runs = 0

        async def body(session: AsyncClientSession) -> int:
            nonlocal runs
            runs += 1
            if runs == 1:
                await account.accounts.find_one({"_id": account.id}, session=session)
                await account.accounts.update_one({"_id": account.id}, {"$set": {"other": 1}})
            await account.raise_it(session)
            return runs

        assert await transaction.run(client, body, happened=account.happened, seconds=LONG) == 2
    assert (account.balance, account.asked) == (1, 0)

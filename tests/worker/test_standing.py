"""What a worker believes of a message: no earlier state than that of the attempt that its entry speaks of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from bson import ObjectId
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from outbox.database import OUTBOX, Database
from outbox.embedded import Mongod
from outbox.message.document import Sent, State
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox.worker import completion
from outbox.worker.completion import Looks, Standing, look

Ask = Callable[[Database, Sent], Awaitable[Standing]]


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod that can be made to answer by an older state, as a new primary may."""
    with Mongod(tmp_path_factory.mktemp("mongod"), extra_args=["--setParameter", "enableTestCommands=1"]) as server:
        yield server


async def one_by_one(database: Database, sent: Sent) -> Standing:
    return (await look(database, sent))[0]


async def together(database: Database, sent: Sent) -> Standing:
    return (await Looks(database).look(sent))[0]


@pytest.mark.parametrize("ask", [one_by_one, together])
async def test_that_a_message_was_completed_before_it_was_replayed_is_not_believed(
    ask: Ask, forgetful: Mongod, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "LOOK_SECONDS", 1.0)
    async with connect_mongo(load(OutboxSettings, mongodb_uri=forgetful.uri)) as client:
        at = Database(client, database)
        replayed, done = ObjectId(), ObjectId()
        completed = {"state": State.COMPLETED.value, "attempts": 1}
        await at[OUTBOX].insert_many([{"_id": replayed, **completed}, {"_id": done, **completed}])
        with showing_no_more(forgetful):
            here = at[OUTBOX].with_options(write_concern=WriteConcern(1))
            await here.update_one({"_id": replayed}, {"$set": {"state": State.PUBLISHED.value, "attempts": 2}})
            stored = await at[OUTBOX].find_one({"_id": replayed}, {"_id": 0})
            assert stored == completed, "the majority's state is not the old one"
            assert await ask(at, Sent(done, 1)) is Standing.COMPLETED
            with pytest.raises(PyMongoError):
                await ask(at, Sent(replayed, 2))
        assert await ask(at, Sent(replayed, 2)) is Standing.WANTED


async def test_what_was_completed_while_it_was_not_marked_yet_is_completed(forgetful: Mongod, database: str) -> None:
    """By the attempts of a message alone, this one would be handled for ever."""
    async with connect_mongo(load(OutboxSettings, mongodb_uri=forgetful.uri)) as client:
        at, message = Database(client, database), ObjectId()
        await at[OUTBOX].insert_one({"_id": message, "state": State.COMPLETED.value, "attempts": 1})
        assert await one_by_one(at, Sent(message, 2)) is Standing.COMPLETED


@contextmanager
def showing_no_more(mongod: Mongod) -> Iterator[None]:
    """While this lasts, what a majority has is what it has had before."""
    with mongod.client() as client:
        client.admin.command("configureFailPoint", "disableSnapshotting", mode="alwaysOn")
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "disableSnapshotting", mode="off")

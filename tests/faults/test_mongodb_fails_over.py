"""MongoDB with three members: nothing is lost in an election, and nothing is published that one takes back (G1, G2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from outbox import Outbox
from outbox.database import OUTBOX, Document
from outbox.embedded import Mongod, ReplicaSet
from outbox.message import schema
from tests.faults.elsewhere import Elsewhere, elsewhere
from tests.faults.history import Appended, RolledBack
from tests.faults.scenario import STREAM
from tests.waiting import eventually, stays


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    parameters = ["--setParameter", "enableTestCommands=1"]
    # A primary that a busy machine keeps from its work for a second or two is to stay.
    folder = tmp_path_factory.mktemp("members")
    with ReplicaSet(folder, election_milliseconds=5000, extra_args=parameters) as three:
        yield three


@pytest.fixture
async def scenario(members: ReplicaSet, redis_url: str, tmp_path: Path) -> AsyncIterator[Elsewhere]:
    for member in members.members:
        member.resume()
        member.start()
    settings = {"mongodb_uri": members.uri, "mongodb_database": f"test_{uuid4().hex[:12]}", "redis_url": redis_url}
    async with elsewhere(tmp_path, **settings) as made:
        yield made
        for member in members.members:
            member.resume()


async def test_a_primary_steps_down_under_load(scenario: Elsewhere, members: ReplicaSet) -> None:
    async with scenario.relay():
        async with scenario.appending():
            await more(scenario, 50)
            old = members.primary()
            assert await asyncio.to_thread(members.step_down) is not old
            await more(scenario, 100)
        await scenario.comes_to_rest(30)
        assert not scenario.told("unavailable", "error"), scenario.everything_told()
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_a_primary_is_killed_under_load(scenario: Elsewhere, members: ReplicaSet) -> None:
    async with scenario.relay():
        async with scenario.appending():
            await more(scenario, 50)
            old = members.primary()
            old.kill()
            await more(scenario, 100)
            old.start()
            await more(scenario, 50)
        await scenario.comes_to_rest(30)
        assert not scenario.told("unavailable", "error"), scenario.everything_told()
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_a_secondary_hangs_and_nothing_waits_for_it(scenario: Elsewhere, members: ReplicaSet) -> None:
    async with scenario.relay():
        async with scenario.appending():
            await more(scenario, 50)
            [hung, _] = members.secondaries()
            hung.pause()
            await more(scenario, 200)
            hung.resume()
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_a_primary_that_is_alone_is_not_believed(scenario: Elsewhere, members: ReplicaSet) -> None:
    """Both others hang, for longer than the leases last."""
    async with scenario.relay():
        async with scenario.appending():
            await more(scenario, 50)
            others = members.secondaries()
            for other in others:
                other.pause()
            await eventually(lambda: scenario.told("mongodb unavailable"), 20)
            for other in others:
                other.resume()
            await more(scenario, 50)
        await scenario.comes_to_rest(30)
        assert not scenario.told("unavailable", "error"), scenario.everything_told()
    await scenario.stays_at_rest()


@pytest.mark.slow
@pytest.mark.parametrize(
    "concern",
    [{"w": 1}, pytest.param({"w": "majority", "wtimeout": 300}, marks=pytest.mark.slow)],
    ids=["w 1", "timed out"],
)
async def test_what_is_rolled_back_was_never_published(
    scenario: Elsewhere, members: ReplicaSet, concern: dict[str, Any]
) -> None:
    async with scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        old, others = members.primary(), members.secondaries()
        with held_back(others):
            doomed = await committed_here_alone(scenario, old, concern)
            assert there(old, scenario, doomed)
            # While the relay's lease lasts, it looks, and must not see it.
            await stays(lambda: absent(scenario, doomed), 2)
            old.pause()
        new = await asyncio.to_thread(new_primary, members, old)
        await scenario.append_many(20)
        old.resume()
        await eventually(lambda: not there(old, scenario, doomed), 30, what="the old primary takes it back")
        assert not there(new, scenario, doomed)
        await scenario.append_many(20)
        await scenario.comes_to_rest(30)
        assert await absent(scenario, doomed)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_fifty_writers_on_one_key_keep_their_order_and_lose_nothing(scenario: Elsewhere) -> None:
    """Each write conflicts with all others, and the driver runs their transactions again until they pass."""
    outbox = Outbox(scenario.streams, database=scenario.database.name)
    committed: list[tuple[int, str]] = []

    async def writer() -> None:
        async def body(session: Any) -> tuple[int, str]:
            file: Any = await scenario.database.files.find_one_and_update(
                {"_id": "contended"}, {"$inc": {"version": 1}, "$set": {"parsing": "queued"}},
                upsert=True, return_document=True, session=session,
            )  # fmt: skip
            return file["version"], str(await outbox.append(session, STREAM, {"file_id": "f"}, key="contended"))

        for _ in range(3):
            async with scenario.client.start_session() as session:
                committed.append(await session.with_transaction(body))

    async with scenario.relay():
        await scenario.database.files.insert_one({"_id": "contended", "version": 0})
        async with asyncio.TaskGroup() as writers:
            for _ in range(50):
                writers.create_task(writer())
        scenario.history.add(*(Appended(message, "contended") for _, message in sorted(committed)))
        assert [version for version, _ in sorted(committed)] == list(range(1, 151))
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_an_index_is_built_meanwhile(scenario: Elsewhere, members: ReplicaSet) -> None:
    messages = scenario.database[OUTBOX]
    async with scenario.relay():
        async with scenario.appending():
            await more(scenario, 50)
            with failing(members.primary(), "hangAfterStartingIndexBuild"):
                building = asyncio.create_task(messages.create_index("nothing"))
                await more(scenario, 100)
                assert not building.done()
            await building
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_the_index_of_what_waits_is_missing_for_a_while(scenario: Elsewhere) -> None:
    """Without it, every look would read the whole outbox: the relay says so, and waits for it."""
    async with scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        await scenario.database[OUTBOX].drop_index("pending")
        await scenario.append_many(20)
        await eventually(lambda: scenario.told("mongodb unavailable", "error"))
        assert await schema.ensure(scenario.database, scenario.streams) == ["built index outbox.pending"]
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


async def test_the_history_of_changes_is_lost(scenario: Elsewhere, members: ReplicaSet) -> None:
    """ChangeStreamHistoryLost: the change stream is opened again, and the sweep finds what it did not tell."""
    async with scenario.relay():
        data = {"failCommands": ["getMore"], "errorCode": 286, "namespace": f"{scenario.database.name}.{OUTBOX}"}
        with failing(members.primary(), "failCommand", **data) as failed:
            await scenario.append_many(20)
            await eventually(failed)
            await scenario.append_many(20)
            await scenario.comes_to_rest()
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        assert not scenario.told("no change stream")
    await scenario.stays_at_rest()


# -- what the tests do to the members


@contextmanager
def failing(member: Mongod, name: str, **data: Any) -> Iterator[Any]:
    """While this lasts, a failpoint of the member is on. What is given tells whether it was met."""
    with member.client(timeout_seconds=30) as client:
        set_: Document = {"configureFailPoint": name, "mode": "alwaysOn", "data": data}
        client.admin.command(set_)

        def met() -> bool:
            reply = client.admin.command({"getParameter": 1, f"failpoint.{name}": 1})
            return bool(reply[f"failpoint.{name}"].get("timesEntered", 1))

        try:
            yield met
        finally:
            client.admin.command({**set_, "mode": "off"})


@contextmanager
def held_back(members: list[Mongod]) -> Iterator[None]:
    """While this lasts, these secondaries fetch nothing of what the primary writes."""
    with failing(members[0], "stopReplProducer"), failing(members[1], "stopReplProducer"):
        yield


async def committed_here_alone(scenario: Elsewhere, primary: Mongod, concern: dict[str, Any]) -> str:
    """A transaction that the primary has committed, and nobody else."""
    outbox = Outbox(scenario.streams, database=scenario.database.name)
    client: AsyncMongoClient[Document] = AsyncMongoClient(f"mongodb://{primary.address}/?directConnection=true")
    message = ""

    async def body(session: Any) -> None:
        nonlocal message
        message = str(await outbox.append(session, STREAM, {"file_id": "doomed"}, key="doomed"))

    async with client, client.start_session() as session:
        with pytest.raises(PyMongoError) if "wtimeout" in concern else nullcontext():
            async with await session.start_transaction(write_concern=WriteConcern(**concern)):
                await body(session)
    scenario.history.add(RolledBack(message))
    return message


def there(member: Mongod, scenario: Elsewhere, message: str) -> bool:
    """Whether this member has it, by its own word."""
    try:
        with member.client(timeout_seconds=2) as client:
            options: Any = client.get_default_database(scenario.database.name)[OUTBOX]
            return options.find_one({"_id": ObjectId(message)}) is not None
    except PyMongoError:
        return True  # on its way: not yet


def new_primary(members: ReplicaSet, old: Mongod) -> Mongod:
    new = members.primary()
    assert new is not old
    return new


async def absent(scenario: Elsewhere, message: str) -> bool:
    entries = (await scenario.everything())[STREAM]
    return all(fields["message_id"] != message for _, fields in entries)


async def more(scenario: Elsewhere, count: int, seconds: float = 40) -> None:
    """As many more are published."""
    published = {"state": "published"}
    enough = await scenario.database[OUTBOX].count_documents(published) + count

    async def reached() -> bool:
        return await scenario.database[OUTBOX].count_documents(published) >= enough

    await eventually(reached, seconds, what=f"{count} more are published")

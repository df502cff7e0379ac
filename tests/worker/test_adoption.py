"""An entry of others that is said to be adopted already is so at a majority, or it is adopted again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.write_concern import WriteConcern

from outbox.database import OUTBOX
from outbox.delivery.entries import Entry
from outbox.embedded import Mongod, ReplicaSet
from outbox.worker.adoption import adopt, message_of
from tests.faults.elsewhere import Elsewhere, elsewhere
from tests.faults.scenario import STREAM
from tests.faults.test_mongodb_fails_over import held_back, members, new_primary
from tests.waiting import eventually
from tests.worker.workshop import Workshop

__all__ = ["members"]


async def test_what_is_adopted_already_is_adopted_once(workshop: Workshop) -> None:
    database, entry = workshop.world.database, Entry(workshop.stream, "1-1", {"file_id": "a"}, None)
    assert await adopt(database, entry)
    assert await adopt(database, entry)
    assert await database[OUTBOX].count_documents({}) == 1


async def test_what_another_index_refuses_is_not_adopted(workshop: Workshop) -> None:
    """The error is the same as of an entry that was adopted before."""
    database, entry = workshop.world.database, Entry(workshop.stream, "1-1", {"file_id": "a"}, None)
    await workshop.publish("a")
    await database[OUTBOX].create_index("key", unique=True)
    with pytest.raises(DuplicateKeyError):
        await adopt(database, entry)
    await database[OUTBOX].drop_index("key_1")
    assert await adopt(database, entry)
    assert await database[OUTBOX].count_documents({"_id": message_of(entry)["_id"]}) == 1


@pytest.fixture
async def scenario(members: ReplicaSet, redis_url: str, tmp_path: Path) -> AsyncIterator[Elsewhere]:
    settings = {"mongodb_uri": members.uri, "mongodb_database": f"test_{uuid4().hex[:12]}", "redis_url": redis_url}
    async with elsewhere(tmp_path, **settings) as made:
        yield made
    for member in members.members:
        member.start()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_an_adoption_that_is_rolled_back_is_made_again(scenario: Elsewhere, members: ReplicaSet) -> None:
    """The worker that made it is gone. Its successor meets the message, and its wait for a majority is interrupted."""
    entry = Entry(scenario.streams[STREAM], "1-1", {"file_id": "a"}, None)
    message, old = message_of(entry), members.primary()
    with ExitStack() as stack:
        stack.enter_context(held_back(members.secondaries()))
        with old.client() as client:
            messages = client[scenario.database.name].get_collection(OUTBOX, write_concern=WriteConcern(1))
            messages.insert_one(message)  # no majority has it
        again = asyncio.create_task(adopt(scenario.database, entry))
        await eventually(lambda: interrupted(old, scenario), 30, what="it waits for a majority, and is interrupted")
        await eventually(lambda: not inserts(old, scenario), 30, what="its insert is answered")
        old.kill()
    with pytest.raises(PyMongoError):
        await again
    await asyncio.to_thread(new_primary, members, old)
    await eventually(lambda: adopted(scenario, entry), 60)
    assert await scenario.database[OUTBOX].count_documents({"_id": message["_id"]}) == 1


def inserts(member: Mongod, scenario: Elsewhere) -> dict[int, int]:
    """Those into the outbox that are under way, each with how long it has been at work."""
    query = {"ns": f"{scenario.database.name}.{OUTBOX}", "command.insert": {"$exists": True}}
    with member.client() as client:
        found = client.admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": query}])
        return {op["opid"]: op["microsecs_running"] for op in found}


def interrupted(member: Mongod, scenario: Elsewhere) -> bool:
    """Whether there was an insert that waited for a majority: its time at work does not grow any more."""
    waiting = inserts(member, scenario).items() & inserts(member, scenario).items()
    with member.client() as client:
        for operation, _ in waiting:
            client.admin.command("killOp", op=operation)
    return bool(waiting)


async def adopted(scenario: Elsewhere, entry: Entry) -> bool:
    try:
        return await adopt(scenario.database, entry)
    except PyMongoError:
        return False  # an election is under way

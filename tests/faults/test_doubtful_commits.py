"""What only the primary knows may be rolled back: a worker acknowledges nothing on its word (G1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from pymongo.write_concern import WriteConcern

from outbox.database import OUTBOX, Document
from outbox.embedded import Mongod, ReplicaSet
from outbox.message.document import State
from outbox.servers.connections import connect_redis
from outbox.worker import Consumer, Message
from tests.faults.elsewhere import Elsewhere, elsewhere
from tests.faults.scenario import STREAM
from tests.faults.test_mongodb_fails_over import held_back, members
from tests.waiting import eventually, stays
from tests.worker.processes import at_work

__all__ = ["members"]


@pytest.fixture
async def scenario(members: ReplicaSet, redis_url: str, tmp_path: Path) -> AsyncIterator[Elsewhere]:
    settings = {"mongodb_uri": members.uri, "mongodb_database": f"test_{uuid4().hex[:12]}", "redis_url": redis_url}
    async with elsewhere(tmp_path, **settings) as made:
        yield made
        for member in members.members:
            member.resume()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_completion_that_is_rolled_back_costs_no_entry(scenario: Elsewhere, members: ReplicaSet) -> None:
    async with scenario.relay():
        await scenario.append_many(1)
        await scenario.comes_to_rest()
    calls = 0

    async def handle(message: Message, session: Any) -> None:
        nonlocal calls
        calls += 1
        database = session.client[scenario.database.name]
        await database["effects"].insert_one({"message": message.id}, session=session)
        await database["files"].update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    await scenario.database.create_collection("effects")
    old = members.primary()
    with ExitStack() as stack:
        stack.enter_context(held_back(members.secondaries()))
        await complete_here_alone(scenario, old)
        async with at_work(Consumer(scenario.settings, handle, silent_seconds=2)):
            await eventually(lambda: calls > 0, 60)
            await stays(lambda: pending(scenario), 5)
            old.pause()
            stack.close()
            await eventually(lambda: effects(scenario), 60)
            old.resume()
            await eventually(lambda: acknowledged(scenario), 60)
    message = await scenario.database[OUTBOX].find_one()
    assert message
    assert message["state"] == State.COMPLETED.value


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_result_that_the_majority_has_a_moment_later_is_a_result(
    scenario: Elsewhere, members: ReplicaSet
) -> None:
    """A handler without a session writes by a client of its own, which may wait for the primary alone."""
    async with scenario.relay():
        await scenario.append_many(1)
        await scenario.comes_to_rest()
    holding = ExitStack()
    calls = 0
    own: AsyncMongoClient[Document] = AsyncMongoClient(members.uri, w=1)

    async def handle(message: Message) -> None:
        nonlocal calls
        calls += 1
        holding.enter_context(held_back(members.secondaries()))
        await own[scenario.database.name]["files"].update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}})
        asyncio.get_running_loop().call_later(3, holding.close)

    async with own, at_work(Consumer(scenario.settings, handle)):
        with holding:
            await eventually(lambda: acknowledged(scenario) if calls else not_yet(), 60)
    message = await scenario.database[OUTBOX].find_one()
    assert message
    assert (calls, message["state"], "failed" in message) == (1, State.COMPLETED.value, False)


async def not_yet() -> bool:
    return False


async def complete_here_alone(scenario: Elsewhere, primary: Mongod) -> None:
    """As a worker has whose commit no majority has confirmed."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(f"mongodb://{primary.address}/?directConnection=true")
    async with client:
        messages = client[scenario.database.name].get_collection(OUTBOX, write_concern=WriteConcern(1))
        result = await messages.update_one({}, {"$set": {"state": State.COMPLETED.value}})
        assert result.modified_count == 1


async def pending(scenario: Elsewhere) -> bool:
    async with connect_redis(scenario.settings) as redis:
        found: Any = await redis.xpending(STREAM, scenario.streams[STREAM].group)
        return bool(found["pending"])


async def acknowledged(scenario: Elsewhere) -> bool:
    return not await pending(scenario)


async def effects(scenario: Elsewhere) -> bool:
    """Each of which is of a transaction that the majority has."""
    return await scenario.database["effects"].count_documents({}) == 1

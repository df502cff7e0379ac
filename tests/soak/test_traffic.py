"""The account of a soak: it tells what is missing, what came twice, and what nobody has appended."""

from __future__ import annotations

import asyncio
from typing import Any

from pymongo import AsyncMongoClient

from outbox import Outbox
from outbox.database import OUTBOX, Database
from outbox.message import schema
from outbox.operations import applications
from outbox.streams.declaration import Streams
from tests.soak.stage import STREAM
from tests.soak.traffic import Traffic
from tests.waiting import eventually


async def test_each_way_to_break_the_promise_is_told(mongo: AsyncMongoClient[Any], database: str) -> None:
    there = Database(mongo, database)
    await schema.ensure(there, Streams([STREAM]), applications.files())
    traffic = Traffic(there, Outbox(Streams([STREAM]), database=database), STREAM.name)
    ended = asyncio.Event()
    appending = asyncio.create_task(traffic.at_rate(100, ended))
    await eventually(lambda: len(traffic.committed) > 10)
    ended.set()
    await appending
    assert await there[OUTBOX].count_documents({}) == len(traffic.committed)

    [missing] = await traffic.violations()
    assert missing.startswith(f"{len(traffic.committed)} messages were committed and not handled")

    effects = there.application.effects
    await effects.insert_many([{"_id": number} for number in traffic.committed])
    assert not await traffic.violations()
    assert not await effects.count_documents({})

    await effects.insert_many([{"_id": 0}, {"_id": 10**6}])
    await there[OUTBOX].update_one({}, {"$set": {"state": "dead"}})
    assert [line.partition(":")[0] for line in await traffic.violations()] == [
        "1 messages were handled twice",
        "1 messages were handled and never appended",
        "1 messages are dead",
    ]

"""A worker completes messages about documents with an `_id` of any type, and notices a handler that settles nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import LENIENT, OUTBOX, Document
from outbox.settings import OutboxSettings, load
from outbox.streams.identifiers import checked, same
from outbox.worker import Message
from outbox.worker.consumer import Consumer
from tests.relay.test_subjects import JOBS, SETTLED, WANTED, append, in_state, jobs
from tests.relay.world import STREAM, World, a_world
from tests.waiting import eventually
from tests.worker.processes import at_work

DECLARED = [
    {
        "name": STREAM.name, "group": STREAM.group, "partitions": 1, "retry": {"attempts": 1},
        "subject": {"collection": JOBS.collection, "field": JOBS.field, "wanted": ["queued", 7]},
    }
]  # fmt: skip


@pytest.fixture
def settings(
    monkeypatch: pytest.MonkeyPatch, mongodb_uri: str, database: str, redis: Redis, redis_url: str
) -> OutboxSettings:
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps(DECLARED))
    return load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)


async def work_through(world: World, settings: OutboxSettings, handler: Callable[..., Any], *ids: Any) -> None:
    """Until each of the messages about `ids` has an outcome, and no entry is held."""
    owner = await world.owner(seconds=60)
    await append(world, *ids)
    await owner.drain_all()

    async def over() -> bool:
        groups: Any = await world.redis.xinfo_groups(STREAM.name)
        ended = await world.database[OUTBOX].count_documents({"state": {"$in": ["completed", "dead"]}})
        return ended == len(ids) and groups[0]["pending"] == 0

    async with at_work(Consumer(settings, handler)):
        await eventually(over, seconds=60)


@pytest.mark.parametrize("plain", [False, True])
async def test_what_a_handler_settles_is_completed(
    plain: bool, mongo: AsyncMongoClient[Document], database: str, settings: OutboxSettings, redis: Redis
) -> None:
    """And of what it does not, nothing: half of the documents, one of each type, are left as they are."""
    settled = {same(checked(id_)) for id_ in SETTLED}
    async with a_world(mongo, database, redis, settings.streams.values()) as world:

        def change(message: Message) -> tuple[Any, Any]:
            there: Any = {"_id": {"$in": [message.subject_id]}}
            return there, {"$set": {JOBS.field: "done"}}

        async def handle(message: Message, session: Any) -> None:
            if same(message.subject_id) in settled:
                await session.client[database][JOBS.collection].update_one(*change(message), session=session)

        def handle_plainly(message: Message, session: Any) -> None:
            if same(message.subject_id) in settled:
                session.client[database][JOBS.collection].update_one(*change(message), session=session)

        await work_through(world, settings, handle_plainly if plain else handle, *SETTLED, *WANTED)
        messages = world.database[OUTBOX].with_options(codec_options=LENIENT)
        completed = [m async for m in messages.find({"state": "completed"})]
        assert {same(m["subject"]["id"]) for m in completed} == settled
        assert len(await in_state(world, "dead")) == len(WANTED)
        async for dead in messages.find({"state": "dead"}):
            assert "is still 'queued' or 7" in dead["last_error"]
        # A failure writes nothing into documents of others.
        assert await jobs(world).count_documents({"status": {"parsing": "queued"}, "theirs": 1}) == len(WANTED)

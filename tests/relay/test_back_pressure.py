"""No more than so many entries wait in Redis for a worker; the rest waits in MongoDB (G7)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, cast

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Stream
from outbox.database import OUTBOX, Database, Document
from outbox.message import schema
from outbox.message.document import new_document
from outbox.streams.declaration import Streams
from outbox_relay.drained import Drained, Outcome
from outbox_relay.service import Next
from tests.relay.processes import a_relay
from tests.relay.world import STREAM, Owner, World, a_world
from tests.waiting import PATIENCE, eventually

NAME, GROUP = STREAM.name, STREAM.group
MOST = 10


@pytest.fixture
async def bounded(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis, [replace(STREAM, max_undelivered=MOST)]) as made:
        yield made


async def read(redis: Redis, count: int, stream: str = NAME) -> list[dict[str, str]]:
    found = await redis.xreadgroup(GROUP, "worker", {stream: ">"}, count=count)
    return [fields for _, entries in cast(Any, found) for _, fields in entries]


async def append(world: World, count: int) -> None:
    await world.append(*(f"f{n}" for n in range(count)))


async def full(owner: Owner) -> Drained:
    drained = await owner.drain()
    assert (drained.outcome, drained.next) == (Outcome.FULL, Next.PAUSE)
    return drained


async def test_a_stream_takes_just_as_much_as_it_may_and_goes_on_when_workers_have_read(bounded: World) -> None:
    await append(bounded, 25)
    owner = await bounded.owner()
    assert await owner.drain_all() == MOST
    await full(owner)
    assert await bounded.redis.xlen(NAME) == MOST
    assert list((await bounded.states()).values()).count("pending") == 15
    await read(bounded.redis, 4)
    await full(owner)  # room for a batch is half of it, and so workers still have something to do
    await read(bounded.redis, 1)
    assert await owner.drain_all() == 5
    await read(bounded.redis, 100)  # read is enough: whether they are acknowledged is another matter
    assert await owner.drain_all() == 10
    assert sorted((await bounded.states()).values()) == ["published"] * 25
    assert [entry["file_id"] for entry in await bounded.entries()] == [f"f{n}" for n in range(25)]


async def test_a_small_batch_does_not_slip_in_before_a_large_one(bounded: World) -> None:
    await append(bounded, 8)
    owner = await bounded.owner()
    await owner.drain_all()
    await bounded.append("one more")
    assert await owner.drain_all() == 0
    await full(owner)


async def test_no_limit(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> None:
    async with a_world(mongo, database, redis, [replace(STREAM, max_undelivered=0)]) as world:
        await append(world, 30)
        assert await (await world.owner(relay_batch_size=10)).drain_all() == 30


async def test_a_full_stream_costs_nothing_but_a_question(bounded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await append(bounded, 25)
    owner = await bounded.owner()
    await owner.drain_all()
    await full(owner)
    monkeypatch.setattr(bounded.store, "fetch", None)
    monkeypatch.setattr(bounded.checkpoints, "publish", None)
    for _ in range(3):
        await full(owner)


async def test_the_seconds_are_told(bounded: World) -> None:
    await append(bounded, 25)
    owner = await bounded.owner()
    await owner.drain_all()
    owner.drainer._full_at = cast(float, owner.drainer._full_at) - 30
    assert 30 <= (await full(owner)).held_back < 60
    assert (await full(owner)).held_back < 30
    await read(bounded.redis, 100)
    assert (await owner.drain()).outcome is Outcome.MORE
    assert (await owner.drain()).held_back == 0


async def test_a_batch_whose_reply_was_lost_is_recognized_in_a_full_stream(
    bounded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(bounded, MOST)
    owner = await bounded.owner()
    publish = bounded.checkpoints.publish

    async def lose_the_reply(*values: Any, **more: Any) -> Any:
        await publish(*values, **more)
        raise ConnectionError

    await owner.drain()
    with monkeypatch.context() as patch:
        patch.setattr(bounded.checkpoints, "publish", lose_the_reply)
        with pytest.raises(ConnectionError):
            await owner.drain()
    assert await bounded.redis.xlen(NAME) == MOST
    assert (await (await bounded.owner("next")).drain()).outcome is Outcome.EMPTY
    assert list((await bounded.states()).values()).count("published") == MOST
    assert await bounded.redis.xlen(NAME) == MOST


async def test_it_works_where_redis_has_lost_count(bounded: World) -> None:
    await append(bounded, 25)
    owner = await bounded.owner()
    await owner.drain_all()
    ids = [id_ for id_, _ in await bounded.stream()]
    await bounded.redis.xdel(NAME, *ids[2:5])
    (group,) = await bounded.redis.xinfo_groups(NAME)
    assert group["lag"] is None
    await full(owner)  # seven are there still
    await read(bounded.redis, 2)
    await asyncio.sleep(0.5)  # the answer holds for a moment
    assert await owner.drain_all() == 5


async def test_a_group_that_somebody_left_behind_stops_nobody(bounded: World) -> None:
    await append(bounded, 25)
    await bounded.redis.xgroup_create(NAME, "audit", id="0", mkstream=True)
    owner = await bounded.owner()
    published = 0
    while drained := await owner.drain_all():
        published += drained
        await read(bounded.redis, 100)
    assert published == 25


async def test_every_partition_gets_its_share_and_all_go_on_within_a_second(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, redis: Redis, redis_url: str, database: str, tmp_path: Path
) -> None:
    """One relay, four partitions, of which one has a backlog and the others little; a worker that is slow."""
    stream = Stream(NAME, GROUP, partitions=4, max_undelivered=40)
    keys = {stream.partition_of(key): key for key in (f"k{n}" for n in range(100))}
    await schema.ensure(Database(mongo, database), Streams([stream]))
    told: Any = {"headers": None, "available_at": None, "now": datetime.now(UTC), "max_bytes": 100}
    documents = [
        new_document(stream, {"file_id": "f"}, key=key, **told)
        for key in [keys[0]] * 1000 + [keys[number] for number in (1, 2, 3) for _ in range(60)]
    ]  # fmt: skip
    await mongo[database][OUTBOX].insert_many(documents)
    partition_of = {str(document["_id"]): document["partition"] for document in documents}
    environment = {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url,
        "OUTBOX_STREAMS": json.dumps([{"name": NAME, "group": GROUP, "partitions": 4, "max_undelivered": 40}]),
    }  # fmt: skip
    served: Counter[int] = Counter()
    pauses: list[float] = []

    async def undelivered() -> int:
        groups = await redis.xinfo_groups(NAME) if await redis.exists(NAME) else []
        return int(groups[0]["lag"]) if groups else 0

    async def filled_up() -> bool:
        waiting = await undelivered()
        if waiting > 40:
            pytest.fail(f"{waiting} entries wait")  # an assertion would only be tried again
        return waiting > 20

    with a_relay(tmp_path / "relay.log", environment):
        await eventually(filled_up, 20)
        while sum(served.values()) < 600:
            started = time.monotonic()
            served.update(partition_of[fields["message_id"]] for fields in await read(redis, 20))
            await eventually(filled_up, 20, what="going on after a read")
            pauses.append(time.monotonic() - started)
        assert median(pauses) < 2 * PATIENCE  # a quarter of a second, on a machine that has nothing else to do
    # Whose turn it is, is left to chance: one by one they would all be kept waiting by the large one.
    assert min(served[number] for number in range(4)) > 0
    assert await mongo[database][OUTBOX].count_documents({"state": "pending"}) > 400


async def test_once_empties_the_outbox_whether_workers_read_or_not(
    bounded: World, mongodb_uri: str, redis_url: str, tmp_path: Path
) -> None:
    await append(bounded, 25)
    environment = {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": bounded.database.name, "REDIS_URL": redis_url,
    }  # fmt: skip
    with a_relay(tmp_path / "relay.log", environment, "--once") as relay:
        assert await asyncio.to_thread(relay.wait) == 0
    assert await bounded.redis.xlen(NAME) == 25

"""Values that no relay writes, in the checkpoint and the record of a stream, are as good as lost, and end nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import OUTBOX, Document
from outbox.delivery.trim import trim
from outbox.streams.declaration import Stream
from outbox.streams.entry_ids import is_entry_id
from outbox.streams.keys import record_key
from tests.relay.world import STREAM, World, a_world

CHECKPOINT = STREAM.checkpoint_key(0)
RECORD = record_key(STREAM.name)
GONE = None
ODD: list[Any] = [b"", b"\xff", b"x", b"-1", b"1e3", b"nan", b"9" * 30, "٣".encode(), b"a:b", b"1-", b"\0"]


@pytest.mark.parametrize(
    ("key", "field"),
    [
        *(
            (CHECKPOINT, field)
            for field in ("token", "batch", "tag", "previous", "messages", "first", "last", "marker")
        ),
        *((RECORD, field) for field in ("marker", "last", "added")),
    ],
)
async def test_an_odd_value_loses_and_doubles_nothing(world: World, key: str, field: str) -> None:
    """Met by the owner that publishes next, and by one that opens the checkpoint."""
    values = [*ODD, GONE]

    async def write(value: Any) -> None:
        if value is GONE:  # a field may be deleted, or expire, by itself
            await world.redis.hdel(key, field)
        else:
            await world.redis.hset(key, field, value)

    for number, value in enumerate(values):
        owner = await world.owner(f"owner {number}")
        await world.append(f"{number} a")
        await owner.drain_all()
        await write(value)
        await world.append(f"{number} b")
        await owner.drain_all()
        await write(value)
    await (await world.owner("last")).drain_all()
    expected = [f"{number} {letter}" for number in range(len(values)) for letter in "ab"]
    assert sorted(entry["file_id"] for entry in await world.entries()) == sorted(expected)
    stored = await world.database[OUTBOX].find().to_list()
    assert all(is_entry_id(message["entries"][name]) for message in stored for name in ("first", "last"))


@pytest.mark.parametrize(
    "id_", ["5-18446744073709551615", "9007199254740993-9007199254740993", "5-9999999999999999999"]
)
async def test_an_id_beyond_what_a_float_holds_is_trimmed_exactly(world: World, id_: str) -> None:
    redis, name = world.redis, STREAM.name
    await redis.xgroup_create(name, STREAM.group, "0", mkstream=True)
    for each in ("1-1", id_):
        await redis.xadd(name, {"a": "b"}, id=each)
    await redis.xgroup_create(name, "behind", "1-1")
    await redis.xreadgroup(STREAM.group, "worker", {name: ">"})
    await redis.xack(name, STREAM.group, "1-1", id_)
    assert (await trim(world.database, redis, STREAM)).removed == 1
    assert [each for each, _ in await world.stream()] == [id_]
    await redis.xgroup_destroy(name, "behind")
    assert (await trim(world.database, redis, STREAM)).removed == 1


@pytest.mark.parametrize("field", ["look", "looked"])
async def test_an_odd_look_is_made_anew(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis, field: str
) -> None:
    bare = Stream(STREAM.name, STREAM.group, partitions=1)
    worker: Any = b"worker-\xff"
    nearly = b'{"held": [1], "seen": "0-0", "done": "0-0", "trusted": "0-0"}'
    odd = [*ODD, b"[]", b"null", b"7", b"{}", b'{"held": 1}', nearly]
    async with a_world(mongo, database, redis, [bare]) as world:
        owner = await world.owner()
        for number, value in enumerate(odd):
            await world.append(f"f{number}")
            await owner.drain_all()
            await trim(world.database, redis, bare)
            await redis.hset(RECORD, field, value)
            read: Any = await redis.xreadgroup(bare.group, worker, {bare.name: ">"})
            await redis.xack(bare.name, bare.group, *(id_ for id_, _ in read[0][1]))
            await trim(world.database, redis, bare)
        await owner.drain_all()
        await trim(world.database, redis, bare)
        assert set((await world.states()).values()) == {"completed"}


async def test_a_look_with_an_odd_part_ends_nothing(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    later = [1, {"given": "x"}, {"given": "9-0", "doubt": "x"}, {"given": "9-0", "server": {}}]
    odd: list[dict[str, Any]] = [{"later": each} for each in later]
    odd += [{"latest": 1}, {"latest": {}}, {"looks": "x"}, {"looks": {}}, {"removals": {}}, {"acks": 7}, {"server": []}]
    odd += [{"held": [["1-0", "w", "x"]]}, {"missed": 1}, {"resets": {}}, {"creates": 1, "sets": None}, {}]
    bare = Stream(STREAM.name, STREAM.group, partitions=1)
    async with a_world(mongo, database, redis, [bare]) as world:
        owner = await world.owner()
        for number, part in enumerate(odd):
            await world.append(f"f{number}")
            await owner.drain_all()
            await trim(world.database, redis, bare)
            look: Any = await redis.hget(RECORD, "look")
            await redis.hset(RECORD, "look", json.dumps(json.loads(look) | part))
            read: Any = await redis.xreadgroup(bare.group, "worker", {bare.name: ">"})
            await redis.xack(bare.name, bare.group, *(id_ for id_, _ in read[0][1]))  # perhaps published again
            await trim(world.database, redis, bare)
        assert set((await world.states()).values()) == {"completed"}

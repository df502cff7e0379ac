"""Values that no relay writes, in Redis or as a fence in a message, lose and double nothing, and hold up nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson import Decimal128, Int64
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import OUTBOX, Document
from outbox.delivery.trim import trim
from outbox.protocol.fences import MAX_TAKEN
from outbox.streams.declaration import Stream
from outbox.streams.entry_ids import is_entry_id
from outbox.streams.keys import record_key
from outbox_relay.drained import Outcome
from tests.relay.world import STREAM, Owner, World, a_world
from tests.slow import mostly

CHECKPOINT = STREAM.checkpoint_key(0)
RECORD = record_key(STREAM.name)
GONE = None
ODD: list[Any] = [b"", b"\xff", b"x", b"-1", b"1e3", b"nan", b"9" * 30, b"9" * 15, "٣".encode(), b"a:b", b"1-", b"\0"]


@pytest.mark.parametrize(
    ("key", "field"),
    mostly(
        [
            *(
                (CHECKPOINT, field)
                for field in ("token", "batch", "tag", "previous", "messages", "first", "last", "marker")
            ),
            *((RECORD, field) for field in ("marker", "last", "added")),
        ],
        but=[(CHECKPOINT, "token"), (CHECKPOINT, "batch"), (CHECKPOINT, "messages"), (RECORD, "last")],
    ),
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


ODD_FENCES: list[Any] = [10**15, Int64(2**62), 1e300, 7.5, [1, 10**18], Decimal128("1E+30"), Decimal128("7.5")]


async def settled(owner: Owner) -> None:
    """After a few passes there is nothing left, and nothing to look at again."""
    outcomes = [(await owner.drain()).outcome for _ in range(6)]
    assert outcomes[-1] is Outcome.EMPTY, outcomes
    owner.drainer.doubt()
    assert (await owner.drain()).outcome is Outcome.EMPTY


@pytest.mark.parametrize("fence", ODD_FENCES, ids=str)
async def test_a_message_that_nobody_could_mark_is_dead_and_the_rest_goes_on(world: World, fence: Any) -> None:
    ids = await world.append("f1", "f2")
    write = {"$set": {"fence": fence}}
    await world.database[OUTBOX].update_one({"_id": ids[0]}, write, bypass_document_validation=True)
    owner = await world.owner()
    await settled(owner)
    assert list((await world.states()).values()) == ["dead", "published"]
    dead = await world.database[OUTBOX].find_one({"state": "dead"})
    assert dead
    assert "fence must be a whole number below" in dead["last_error"]
    assert await world.published_ids() == [str(ids[1])]
    assert (await world.lease())["token"] < 10


@pytest.mark.parametrize("fence", [*ODD_FENCES, MAX_TAKEN, MAX_TAKEN - 1, 7], ids=str)
async def test_what_others_write_as_a_fence_when_a_message_is_on_its_way_keeps_nobody_from_marking_it(
    world: World, monkeypatch: pytest.MonkeyPatch, fence: Any
) -> None:
    ids = await world.append("f1", "f2")
    owner = await world.owner()
    publish = world.checkpoints.publish

    async def write_before_publish(*args: Any, **options: Any) -> Any:
        write = {"$set": {"fence": fence}}
        await world.database[OUTBOX].update_one({"_id": ids[0]}, write, bypass_document_validation=True)
        return await publish(*args, **options)

    monkeypatch.setattr(world.checkpoints, "publish", write_before_publish)
    await settled(owner)
    monkeypatch.undo()
    assert await world.published_ids() == [str(id_) for id_ in ids]
    assert set((await world.states()).values()) == {"published"}
    # What is left is a token like any other: with those above it, the partition goes on.
    [again] = await world.append("f3")
    await settled(await world.owner("next"))
    assert await world.published_ids() == [str(id_) for id_ in (*ids, again)]
    view = await owner.leases.renew({})
    assert view.partitions == {STREAM.name: 1}


@pytest.mark.parametrize("token", [MAX_TAKEN - 1, MAX_TAKEN, 10**15 - 1, 10**15])
async def test_no_lease_goes_above_a_token_that_no_relay_has_written(world: World, token: int) -> None:
    ids = await world.append("f1")
    await settled(await world.owner())
    await world.redis.hset(CHECKPOINT, "token", token)
    ids += await world.append("f2")
    owner = await world.owner("next")
    await settled(owner)
    assert await world.published_ids() == [str(id_) for id_ in ids]
    assert set((await world.states()).values()) == {"published"}
    assert (await world.lease())["token"] < MAX_TAKEN + 100
    assert await world.redis.hget(CHECKPOINT, "token") == str(owner.lease.token)


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

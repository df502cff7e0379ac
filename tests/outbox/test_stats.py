from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from outbox import State, Stream, Streams
from outbox.database import OUTBOX, PARTITIONS, Database
from outbox.delivery import groups
from outbox.delivery.depth import Depth
from outbox.message import schema
from outbox.operations import obstacles, recoveries, stats
from outbox.protocol.leases import Leases
from outbox.servers.causes import Cause
from outbox.servers.clock import server_time
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM, Partition
from tests.listener import Listener
from tests.outbox.shelf import Shelf


async def test_an_empty_system(db: Database, redis: Redis, streams: Streams) -> None:
    status = (await stats.collect(db, redis, streams)).as_json()
    assert status["messages"] == {"scheduled": 0, "pending": 0, "published": 0, "completed": 0, "dead": 0}
    assert status["oldest_pending_seconds"] is None
    assert status["streams"] == {FILE_STREAM: {"length": 0, "undelivered": 0, "unacknowledged": 0}}
    assert [(p["stream"], p["number"], p["owner"], p["token"], p["batch"]) for p in status["partitions"]] == [
        (FILE_STREAM, number, None, 0, 0) for number in range(4)
    ]
    assert status["relays"] == []
    assert status["recoveries"] == []
    assert (status["redis"]["reachable"], status["redis"]["error"]) == (True, None)


async def test_messages_are_counted_by_state(db: Database, redis: Redis, streams: Streams, shelf: Shelf) -> None:
    for count, state in enumerate(State, start=1):
        await shelf.put(state, count)
    status = await stats.collect(db, redis, streams)
    assert list(status.messages.items()) == [(state, count) for count, state in enumerate(State, start=1)]


@pytest.mark.parametrize("state", [state for state in State if state is not State.COMPLETED])
async def test_counting_reads_an_index_and_no_message(state: State, db: Database) -> None:
    """With two million retained messages, anything else takes seconds."""
    plan = await db.command("explain", {"count": OUTBOX, "query": {"state": state.value}}, verbosity="queryPlanner")
    assert plan["queryPlanner"]["winningPlan"]["inputStage"]["stage"] == "COUNT_SCAN"


@pytest.mark.parametrize("again", ["replayed_at", "retried_at", "available_at", "recovered_at"])
async def test_a_message_that_is_pending_again_has_waited_since_then(
    again: str, db: Database, redis: Redis, streams: Streams, shelf: Shelf
) -> None:
    began, now = time.monotonic(), await server_time(db)
    [message] = await shelf.put(State.PENDING)
    appended = now - timedelta(hours=1)
    await shelf.messages.update_one({"_id": message}, {"$set": {"position": timestamp(appended)}})
    assert await age(db, redis, streams) == about(3600, began)
    await shelf.messages.update_one({"_id": message}, {"$set": {again: now - timedelta(seconds=60)}})
    assert await age(db, redis, streams) == about(60, began)


async def test_the_age_is_that_of_the_oldest_in_any_partition(
    db: Database, redis: Redis, streams: Streams, shelf: Shelf
) -> None:
    began, now = time.monotonic(), await server_time(db)
    for partition, seconds in ((0, 10), (1, 500), (2, 100)):
        await shelf.put(State.PENDING, partition=partition, position=timestamp(now - timedelta(seconds=seconds)))
    await shelf.put(State.PUBLISHED, position=timestamp(now - timedelta(seconds=9999)))
    assert await age(db, redis, streams) == about(500, began)


async def test_the_age_does_not_depend_on_the_clocks_of_those_who_append(
    db: Database, redis: Redis, streams: Streams, shelf: Shelf
) -> None:
    began = time.monotonic()
    await shelf.put(State.PENDING, at=datetime.now(UTC) - timedelta(days=400))
    assert await age(db, redis, streams) == about(0, began)


async def test_a_message_without_a_position_hides_nothing(
    db: Database, redis: Redis, streams: Streams, shelf: Shelf
) -> None:
    began, now = time.monotonic(), await server_time(db)
    await shelf.put(State.PENDING, partition=0, position="none", recovered_at="never")
    await shelf.put(State.PENDING, partition=0, position=timestamp(now - timedelta(seconds=100)))
    assert await age(db, redis, streams) == about(100, began)


def about(seconds: float, began: float) -> Any:
    """So many seconds at `began`; it may have taken this machine any time to look. Positions are cut to the second."""
    took = time.monotonic() - began
    return pytest.approx(seconds + took / 2, abs=took / 2 + 2)


def timestamp(moment: datetime) -> Any:
    from bson import Timestamp

    return Timestamp(int(moment.timestamp()), 1)


async def age(db: Database, redis: Redis, streams: Streams) -> float | None:
    return (await stats.collect(db, redis, streams)).oldest_pending_seconds


async def test_a_backlog_of_a_stream_that_is_no_longer_declared_is_seen(
    db: Database, redis: Redis, shelf: Shelf
) -> None:
    await shelf.put(State.PENDING)
    other = Streams([Stream("exports", "g")])
    await schema.ensure(db, other)
    status = await stats.collect(db, redis, other)
    assert status.oldest_pending_seconds is not None
    assert {partition["stream"] for partition in status.partitions} == {"exports", FILE_STREAM}


async def test_entries_are_undelivered_then_unacknowledged_then_done(redis: Redis, streams: Streams) -> None:
    async def depth() -> Depth:
        return (await stats.queue(redis, streams)).streams[FILE_STREAM]

    for _ in range(5):
        await redis.xadd(FILE_STREAM, {"a": "b"})
    assert await depth() == Depth(5, 5, 0)  # no group yet: everything is still to be delivered
    await redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")
    assert await depth() == Depth(5, 5, 0)
    reply: Any = await redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"}, count=2)
    assert await depth() == Depth(5, 3, 2)
    await redis.xack(FILE_STREAM, FILE_GROUP, reply[0][1][0][0])
    assert await depth() == Depth(5, 3, 1)


async def test_what_redis_has_lost_count_of_is_counted(
    redis: Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0", mkstream=True)
    ids = [await redis.xadd(FILE_STREAM, {"a": "b"}) for _ in range(6)]
    await redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"}, count=1)
    await redis.xdel(FILE_STREAM, ids[3])
    [group] = await redis.xinfo_groups(FILE_STREAM)
    assert group["lag"] is None
    assert (await stats.queue(redis, streams)).streams[FILE_STREAM] == Depth(5, 4, 1)
    monkeypatch.setattr("outbox.delivery.depth.LOOK_AHEAD", 3)
    assert (await stats.queue(redis, streams)).streams[FILE_STREAM] == Depth(5, None, 1)


async def test_groups_of_others_are_left_out(redis: Redis, streams: Streams) -> None:
    await redis.xgroup_create(FILE_STREAM, "somebody", "$", mkstream=True)
    await redis.xadd(FILE_STREAM, {"a": "b"})
    assert (await stats.queue(redis, streams)).streams[FILE_STREAM] == Depth(1, 1, 0)


async def test_a_redis_that_is_away_is_a_part_of_the_status(db: Database, streams: Streams, shelf: Shelf) -> None:
    await shelf.put(State.PENDING)
    async with connect_redis(load(OutboxSettings, redis_port=9)) as away:
        status = (await stats.collect(db, away, streams)).as_json()
    assert status["redis"]["reachable"] is False
    assert "Redis cannot be reached" in status["redis"]["error"]
    assert status["streams"] == {FILE_STREAM: {"length": None, "undelivered": None, "unacknowledged": None}}
    assert status["messages"]["pending"] == 1


async def test_a_redis_that_is_silent_is_not_waited_for(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "REDIS_SECONDS", 0.1)

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with Listener(silent) as listener, connect_redis(load(OutboxSettings, redis_port=listener.port)) as redis:
        queue = await stats.queue(redis, streams)
    assert queue.cause
    assert (queue.reachable, queue.cause.what) == (False, "Redis does not answer within 0.1 s")


async def test_a_key_of_another_type_is_told_beside_the_other_streams(redis: Redis) -> None:
    await redis.set("broken", "text")
    await redis.xadd("sound", {"a": "b"})
    queue = await stats.queue(redis, Streams([Stream("broken", "g"), Stream("sound", "g")]))
    assert queue.reachable
    assert "broken" in str(queue.cause)
    assert "belongs to another program" in str(queue.cause)
    assert queue.streams == {"broken": Depth(), "sound": Depth(1, 1, 0)}


@pytest.fixture
async def without_groups(redis: Redis, redis_url: str) -> AsyncIterator[Redis]:
    """The client of a user that may not look at the groups of a stream."""
    await redis.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">p", "~*", "+@all", "-xinfo|groups")  # type: ignore[no-untyped-call]
    url = redis_url.replace("redis://", "redis://reader:p@")
    async with connect_redis(load(OutboxSettings, redis_url=url)) as reader:
        yield cast(Redis, reader)
    await redis.execute_command("ACL", "DELUSER", "reader")  # type: ignore[no-untyped-call]


async def test_a_stream_that_may_not_be_looked_at_is_not_taken_for_one_that_nobody_reads(
    redis: Redis, without_groups: Redis, streams: Streams
) -> None:
    await redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0", mkstream=True)
    for _ in range(5):
        await redis.xadd(FILE_STREAM, {"a": "b"})
    await redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"}, count=5)
    queue = await stats.queue(without_groups, streams)
    assert queue.streams == {FILE_STREAM: Depth()}
    assert queue.cause
    assert queue.cause.what == "Redis's user lacks a permission"
    assert "xinfo|groups" in str(queue.cause)
    assert await groups.undelivered(without_groups, streams) == {}
    assert await groups.undelivered(redis, streams) == {FILE_STREAM: 0}


async def test_partitions_and_relays(db: Database, redis: Redis, streams: Streams) -> None:
    began, leases = time.monotonic(), Leases(db, streams, "relay-1", seconds=30)
    await leases.renew({"host": "here", "pid": 5})
    assert await leases.acquire(Partition(FILE_STREAM, 2))
    await db[PARTITIONS].update_one({"_id": f"{FILE_STREAM}/2"}, {"$set": {"batch": 7}})
    status = (await stats.collect(db, redis, streams)).as_json()
    json.dumps(status)
    owned = status["partitions"][2]
    assert (owned["owner"], owned["token"], owned["batch"]) == ("relay-1", 1, 7)
    least = 29 - (time.monotonic() - began)
    assert least < owned["expires_in_seconds"] <= 30
    [relay] = status["relays"]
    assert least < relay.pop("expires_in_seconds") <= 30
    assert relay == {
        "id": "relay-1", "host": "here", "pid": 5, "streams": ["file_parsing_queue"], "revisions": [],
        "lease_seconds": 30.0,
    }  # fmt: skip


async def test_what_relays_wait_for_is_said_once(db: Database, redis: Redis, streams: Streams) -> None:
    full = obstacles.as_document("redis", Cause("Redis is full", "Raise maxmemory.", True, "$of 1 GB"))
    for name in ("a", "b"):
        await Leases(db, streams, name, seconds=30).renew({"waits_for": [full]})
    for name, odd in (("c", "redis"), ("d", [7, {"server": "redis", "what": 7}, {**full, "server": ["x"]}])):
        await Leases(db, streams, name, seconds=30).renew({"waits_for": odd})
    [one] = (await stats.collect(db, redis, streams)).obstacles
    assert (str(one), one.do) == ("2 relays wait for redis: Redis is full ($of 1 GB)", "Raise maxmemory.")
    await Leases(db, streams, "a", seconds=30).renew({"waits_for": []})
    [one] = (await stats.collect(db, redis, streams)).obstacles
    assert str(one) == "The relay b waits for redis: Redis is full ($of 1 GB)"


async def test_recoveries_the_latest_first(db: Database, redis: Redis, streams: Streams) -> None:
    for lost in (5, 7):
        await recoveries.record(
            db, Partition(FILE_STREAM, 1), owner="r", verdict="tail_lost", recovered=lost, settled=1, kept=2
        )
    found = (await stats.collect(db, redis, streams)).as_json()["recoveries"]
    assert [recovery.pop("recovered") for recovery in found] == [7, 5]
    assert found[0].pop("at").endswith("Z")
    assert found[0] == {"stream": FILE_STREAM, "number": 1, "verdict": "tail_lost", "settled": 1, "kept": 2}


async def test_a_relay_whose_time_has_run_out_is_not_shown(db: Database, redis: Redis, streams: Streams) -> None:
    await Leases(db, streams, "gone", seconds=-1).renew({})
    assert (await stats.collect(db, redis, streams)).relays == ()

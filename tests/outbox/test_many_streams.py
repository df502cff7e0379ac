"""What is looked at over all messages, partitions and streams, when there are very many of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from bson import Timestamp
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent
from redis.asyncio import Redis

from outbox import State, Stream, Streams
from outbox.database import LENIENT, PARTITIONS, Database, Document
from outbox.delivery import groups
from outbox.delivery.depth import Depth
from outbox.message import schema, transitions
from outbox.message.document import Sent
from outbox.message.transitions import Cause
from outbox.operations import counts, stats
from outbox.protocol import records
from outbox.protocol.checkpoint import Checkpoints
from outbox.protocol.ownership import own, refused
from outbox.servers import few
from outbox.servers.clock import server_time
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES
from outbox_relay.trimmer import Trimmer
from tests.outbox.shelf import Shelf
from tests.waiting import eventually

MANY = Streams([Stream(f"many-{number}", "g", partitions=1) for number in range(60)])

LATE = "99999999999999-0"
BUSY = "local t = 0 for i = 1, 1e6 do t = t + i end"
"""Takes Redis some ten milliseconds."""


@pytest.fixture(params=["many", "slow"])
def counted_to_three(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more than are counted; or more than are counted whatever it takes, and no time for the others."""
    monkeypatch.setattr(counts, "SURE", 3)
    if request.param == "many":
        monkeypatch.setattr(counts, "COUNTED", 3)
    else:
        monkeypatch.setattr(counts, "SECONDS", 1e-6)
        monkeypatch.setattr(stats, "MONGO_SECONDS", 30.0)


@pytest.mark.usefixtures("counted_to_three")
async def test_more_messages_than_can_be_counted_are_so_many_or_more(
    db: Database, redis: Redis, streams: Streams, shelf: Shelf
) -> None:
    for state, count in ((State.PENDING, 7), (State.COMPLETED, 2), (State.DEAD, 1)):
        await shelf.put(state, count)
    status = (await stats.collect(db, redis, streams)).as_json()
    assert status["messages"] == {"scheduled": 0, "pending": 3, "published": 0, "completed": 6, "dead": 1}
    assert status["bounds"] == {"pending": "at_least", "completed": "at_most"}


async def test_a_relay_measures_what_waits_in_bounded_time_too(
    db: Database, streams: Streams, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "SURE", 3)
    monkeypatch.setattr(stats, "MONGO_SECONDS", 1e-6)
    await shelf.put(State.PENDING, 7)
    waiting = await stats.waiting(db, streams)
    assert (waiting.pending, waiting.dead) == (3, 0)
    assert waiting.oldest_pending_seconds is not None


async def test_what_is_counted_to_its_end_has_no_bounds(
    db: Database, redis: Redis, streams: Streams, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "SURE", 3)
    await shelf.put(State.PENDING, 7)
    status = await stats.collect(db, redis, streams)
    assert (status.messages[State.PENDING], status.bounds) == (7, {})


class Requests(CommandListener):
    """Counts what is asked of MongoDB."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.asked.append(event.command_name)

    def succeeded(self, _: object) -> None: ...

    def failed(self, _: object) -> None: ...


async def test_many_partitions_take_a_handful_of_requests(
    mongodb_uri: str, mongo: AsyncMongoClient[Document], database: str, redis: Redis, shelf: Shelf
) -> None:
    wide = Streams([FILES, Stream("wide", "g", partitions=200)])
    await schema.ensure(Database(mongo, database), wide)
    now = await server_time(Database(mongo, database))
    for number in range(200):
        position = Timestamp(int((now - timedelta(seconds=100 + number)).timestamp()), 1)
        await shelf.put(State.PENDING, stream="wide", partition=number, position=position)
        await shelf.put(State.PUBLISHED, stream="wide", partition=number, entries={"first": LATE, "last": LATE})
    await redis.xadd("wide", {"a": "b"})
    requests = Requests()
    async with AsyncMongoClient[Document](mongodb_uri, event_listeners=[requests]) as client:
        status = await stats.collect(Database(client, database, LENIENT), redis, wide)
    assert status.oldest_partition == "wide/199"
    assert len(requests.asked) < 30, requests.asked


async def test_the_head_of_each_partition_is_found_by_its_index(db: Database, streams: Streams, shelf: Shelf) -> None:
    """Otherwise each partition would read all that is pending."""
    for number in range(4):
        await shelf.put(State.PENDING, 5, partition=number)
    heads = records.heads(db, {"state": "pending", "position": {"$type": "timestamp"}}, "position", {"position": 1})
    asked = {"aggregate": db[PARTITIONS].name, "pipeline": heads, "cursor": {}}
    plan = await db.command("explain", asked, verbosity="executionStats")
    [joined] = [stage for stage in plan["stages"] if "$lookup" in stage]
    assert joined["indexesUsed"] == ["pending"]
    assert joined["totalDocsExamined"] <= 4


@pytest.mark.parametrize("cause", Cause)
async def test_a_message_that_came_back_has_waited_since_then(
    cause: Cause, db: Database, redis: Redis, streams: Streams, shelf: Shelf
) -> None:
    appended = Timestamp(int((await server_time(db)).timestamp()) - 3600, 1)
    [message] = await shelf.put(State.PUBLISHED, position=appended)
    await shelf.messages.update_one(*transitions.put_back(Sent(message, 1), cause))
    status = await stats.collect(db, redis, streams)
    assert status.messages[State.PENDING] == 1
    assert status.oldest_pending_seconds is not None
    assert status.oldest_pending_seconds < 1800


@pytest.fixture
async def client(redis: Redis, redis_url: str) -> AsyncIterator[Redis]:
    """A client that has connected to nothing yet, to a Redis with many streams."""
    for stream in MANY.values():
        await redis.xgroup_create(stream.key, "g", "0", mkstream=True)
        for _ in range(3):
            await redis.xadd(stream.key, {"a": "b"})
        await redis.xreadgroup("g", "w", {stream.key: ">"}, count=1)
    async with connect_redis(load(OutboxSettings, redis_url=redis_url)) as made:
        yield cast(Redis, made)


async def streams_and_what_is_held(db: Database, client: Redis) -> None:
    queue = await stats.queue(client, MANY, await own(db))
    assert (queue.reachable, queue.cause) == (True, None)
    assert set(queue.streams.values()) == {Depth(3, 2, 1)}


async def readers(_: Database, client: Redis) -> None:
    assert {one.added for one in (await groups.collect(client, MANY)).values()} == {3}


async def undelivered(_: Database, client: Redis) -> None:
    assert await groups.undelivered(client, MANY) == dict.fromkeys(MANY, 2)


async def owners(db: Database, client: Redis) -> None:
    assert await refused(client, MANY.values(), await own(db)) == []


async def what_a_relay_trims(db: Database, client: Redis) -> None:
    assert (await Trimmer(db, client, MANY).run_once()).removed == 0


async def what_a_relay_watches(db: Database, client: Redis) -> None:
    checkpoints = Checkpoints(client, MANY, await own(db))
    found = await asyncio.gather(*(checkpoints.glance(name, [0]) for name in MANY))
    assert len(found) == len(MANY)


async def all_at_once(db: Database, client: Redis) -> None:
    await asyncio.gather(*(look(db, client) for look in LOOKS[:-1]))


LOOKS = [
    streams_and_what_is_held,
    readers,
    undelivered,
    owners,
    what_a_relay_trims,
    what_a_relay_watches,
    all_at_once,
]


@pytest.mark.parametrize("look", LOOKS)
async def test_many_streams_are_looked_at_on_a_few_connections(
    look: Callable[[Database, Redis], Awaitable[None]], db: Database, redis: Redis, client: Redis
) -> None:
    before = await connections(redis)
    await look(db, client)
    assert await connections(redis) - before <= few.AT_ONCE + 1


async def connections(redis: Redis) -> int:
    return int((await redis.info("stats"))["total_connections_received"])


async def test_a_redis_that_answers_is_not_called_silent_however_many_streams_there_are(
    db: Database, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few, "AT_ONCE", 2)
    for module, name in ((stats, "REDIS_SECONDS"), (groups, "SECONDS")):
        monkeypatch.setattr(module, name, 1.0)
    real: Any = type(client).execute_command

    async def slow(self: Any, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.02)
        return await real(self, *args, **options)

    monkeypatch.setattr(type(client), "execute_command", slow)
    for look in (streams_and_what_is_held, readers, undelivered):
        began = time.monotonic()
        await look(db, client)
        assert time.monotonic() - began > 1.0


async def test_whoever_is_kept_waiting_by_others_does_not_call_redis_silent(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few, "AT_ONCE", 1)
    done = []

    async def others() -> None:
        async with few.few_connections(client) as one:
            await asyncio.gather(*(one.eval(BUSY, 0) for _ in range(100)))
            done.append(True)

    busy = asyncio.create_task(others())
    await eventually(lambda: client in few._TURNS and few._TURNS[client].at[""].locked(), 10)
    async with few.few_connections(client, 0.5) as one:
        assert await one.xlen(MANY["many-1"].key) == 3
    assert done
    await busy

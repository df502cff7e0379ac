"""The history: a minute is recorded once whoever does it, kept for a day, and read as points, totals and outages."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import DatetimeMS, Timestamp
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import State
from outbox.database import HISTORY, OUTBOX, Database, Document
from outbox.operations import day, history
from outbox.operations.downtime import Downtime
from outbox.operations.history import Minute
from outbox.operations.recoveries import Recovery
from outbox.servers.clock import server_time
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES, Partition
from tests.outbox.shelf import Shelf

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    async def now(_: Database) -> datetime:
        return moment

    monkeypatch.setattr(history, "server_time", now)


async def test_a_minute_is_recorded_once_whatever_the_number_of_relays(
    db: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, NOON + timedelta(seconds=20))
    done = await asyncio.gather(*(history.record(db, redis) for _ in range(8)))
    assert sum(done) == 1
    at(monkeypatch, NOON + timedelta(seconds=59))
    assert await history.record(db, redis) == 0
    at(monkeypatch, NOON + timedelta(seconds=61))
    assert await history.record(db, redis) == 1
    assert [document["_id"] async for document in db[HISTORY].find()] == [NOON, NOON + timedelta(minutes=1)]


async def test_a_look_at_a_minute_that_is_on_record_measures_nothing(
    db: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, NOON)
    assert await history.record(db, redis) == 1

    async def measured(*_: Any) -> Document:
        pytest.fail("it costs what a minute costs")

    monkeypatch.setattr(history, "_measured", measured)
    assert await history.record(db, redis) == 0


async def test_what_is_recorded(db: Database, redis: Redis, shelf: Shelf) -> None:
    now = await server_time(db)
    lately = now.replace(second=0, microsecond=0) - timedelta(seconds=30)
    await shelf.put(State.PENDING, 3, at=lately)
    await shelf.put(State.DEAD, 2)
    [sent] = await shelf.put(State.PUBLISHED, at=lately)
    published = {"published_at": now, "created_at": now - timedelta(seconds=2)}
    await db[OUTBOX].update_one({"_id": sent}, {"$set": published})
    for _ in range(5):
        await redis.xadd(FILES.key, {"file_id": "x"})
    await redis.xgroup_create(FILES.key, FILES.group, 0)
    await redis.xreadgroup(FILES.group, "worker", {FILES.key: ">"}, count=1)
    await history.record(db, redis)
    [minute] = await history.read(db)
    assert (minute.pending, minute.dead, minute.scheduled) == (3, 2, 0)
    assert (minute.added, minute.undelivered, minute.unacknowledged) == (5, 4, 1)
    assert minute.appended in (0, 4), "0: another minute has begun meanwhile"
    assert minute.median == pytest.approx(2, abs=0.1)


async def test_redis_that_is_away_is_recorded_as_not_known(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PENDING)
    async with connect_redis(load(OutboxSettings, redis_url="redis://127.0.0.1:9/0"), timeout_seconds=0.2) as away:
        await history.record(db, away)
    [minute] = await history.read(db)
    assert (minute.pending, minute.added, minute.undelivered) == (1, None, None)


async def test_a_day_is_kept_by_the_servers_clock(db: Database, redis: Redis) -> None:
    indexes = await db[HISTORY].index_information()
    assert indexes["expiry"]["expireAfterSeconds"] == history.KEPT.total_seconds()
    now = await server_time(db)
    fields = {"appended": 0, "pending": 0, "scheduled": 0, "dead": 0, "oldest": 0.0}
    for hours in (25, 23):
        moment = now - timedelta(hours=hours)
        await db[HISTORY].insert_one({"_id": moment, "at": moment, **fields})
    [minute] = await history.read(db)  # MongoDB removes what is past its time once a minute
    assert now - minute.at < timedelta(hours=23, seconds=1)


async def test_what_others_wrote_is_left_out(db: Database) -> None:
    now = await server_time(db)
    fields = {"at": now, "appended": 1, "pending": 0, "scheduled": 0, "dead": 0, "oldest": 0.0}
    for odd in (
        {"appended": "many"}, {"pending": None}, {"oldest": float("nan")}, {"median": float("inf")},
        {"at": now + timedelta(days=9999)}, {"at": Timestamp(now, 1)}, {"longest": DatetimeMS(2**62)},
    ):  # fmt: skip
        await db[HISTORY].insert_one(fields | odd)
    await db[HISTORY].insert_one({**fields, "more": {"of": "the next version"}})
    [minute] = await history.read(db)
    assert minute == Minute(now, 1, None, 0, 0, 0, 0.0, None, None, None, None)


# -- the day


def minute(number: float, added: int | None = 0, **values: Any) -> Minute:
    fields: dict[str, Any] = {
        "appended": 0, "pending": 0, "scheduled": 0, "dead": 0, "oldest": 0.0, "undelivered": 0, "unacknowledged": 0,
        "median": None, "longest": None,
    }  # fmt: skip
    return Minute(NOON + timedelta(minutes=number), added=added, **fields | values)


def test_points_have_the_mean_of_rates_and_the_worst_of_the_rest() -> None:
    minutes = [
        minute(0, 100, appended=60),
        minute(1, 160, appended=120, pending=7, oldest=12.0, median=0.01, longest=0.2),
        minute(2, 280, appended=60, pending=3, median=0.03, longest=0.1),
    ]
    found = day.summarise(minutes, [], [], NOON)
    assert found.points == ((NOON.timestamp(), 1.33, 1.5, 7, 12.0, 20.0, 200.0),)
    assert (found.appended, found.published, found.most_pending, found.longest) == (240, 180, 7, 0.2)


def test_where_nothing_is_known_there_is_a_gap() -> None:
    minutes = [minute(0, 5), minute(1, None), minute(2, 6), minute(16, 7), minute(17, 3), minute(18, 63)]
    found = day.summarise(minutes, [], [], NOON)
    times = [NOON.timestamp() + 300 * number for number in range(4)]
    assert [point[0] for point in found.points] == times
    assert [point[3] for point in found.points] == [0, None, None, 0]
    assert [point[2] for point in found.points] == [None, None, None, 1.0], "Redis had lost its count"


def test_outages_and_recoveries_of_the_day_alone() -> None:
    ago = [NOON - timedelta(hours=hours) for hours in range(30)]
    outages = [Downtime("redis", ago[0]), Downtime("redis", ago[3], ago[2], 7), Downtime("mongodb", ago[26], ago[25])]
    losses = [Recovery(ago[hours], Partition("s", 1), "lost", 1, 0, 0) for hours in (1, 29)]
    found = day.summarise([], outages, losses, NOON)
    assert found.outages == tuple(outages[:2])
    assert found.recoveries == (losses[0],)
    assert found.away == 3600
    assert found.as_json() == {
        "points": [],
        "away": [[NOON.timestamp(), None, "redis"], [ago[3].timestamp(), ago[2].timestamp(), "redis"]],
        "lost": [ago[1].timestamp()],
    }


def test_an_empty_day() -> None:
    assert day.summarise([], [], [], NOON).points == ()


async def test_without_registered_streams_there_is_nothing_to_record(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    place = Database(mongo, database)
    assert await history.record(place, redis) == 0
    assert await history.read(place) == []

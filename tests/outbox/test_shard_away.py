"""One shard of several is away for a moment: what it ever had is not known, which is not nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from outbox import Stream, Streams
from outbox.database import Database
from outbox.operations import day, history, samples
from outbox.streams.declaration import FILES

OTHER = Stream("orders", "shop", partitions=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def streams() -> Streams:
    return Streams([FILES, OTHER])


@pytest.fixture
async def filled(redis: Redis) -> Redis:
    for stream, entries in ((FILES, 3), (OTHER, 4)):
        for _ in range(entries):
            await redis.xadd(stream.key, {"a": "b"})
    return redis


def away(redis: Redis, patch: pytest.MonkeyPatch) -> None:
    real: Any = redis.execute_command

    async def asked(*command: Any, **options: Any) -> Any:
        if command[:2] == ("XINFO STREAM", OTHER.key):
            raise ConnectionError("Connection refused")
        return await real(*command, **options)

    patch.setattr(redis, "execute_command", asked)


async def test_nothing_seems_to_be_published_when_it_is_back(
    db: Database, filled: Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = []
    for number in range(3):

        async def now(_: Database, number: int = number) -> datetime:
            return NOON + timedelta(minutes=number)

        with monkeypatch.context() as patch:
            patch.setattr(history, "server_time", now)
            if number == 1:
                away(filled, patch)
            minutes.append(history.understood(await history._measured(db, filled, streams, await now(db))))
    assert [minute.added for minute in minutes] == [7, None, 7]
    assert day.summarise(minutes, [], [], NOON).published == 0


async def test_a_sample_does_not_know_either(
    db: Database, filled: Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await samples.take(db, filled, streams, since=NOON)).added == 7
    away(filled, monkeypatch)
    assert (await samples.take(db, filled, streams, since=NOON)).added is None


async def test_what_is_not_there_yet_has_had_nothing(db: Database, filled: Redis, streams: Streams) -> None:
    await filled.delete(OTHER.key)
    assert (await samples.take(db, filled, streams, since=NOON)).added == 3
    assert (await history._measured(db, filled, streams, NOON))["added"] == 3


async def test_a_key_that_is_no_stream_is_not_known(db: Database, filled: Redis, streams: Streams) -> None:
    await filled.delete(OTHER.key)
    await filled.set(OTHER.key, "of others")
    assert (await samples.take(db, filled, streams, since=NOON)).added is None

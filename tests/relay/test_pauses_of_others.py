"""What every relay measures of all partitions, also where other relays drain other streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Stream
from outbox.database import Document
from outbox.embedded import ports
from outbox.operations import oldest, pausing
from outbox.settings import OutboxSettings, load
from outbox.streams import pauses
from outbox_relay.backlog import Backlog
from outbox_relay.declarations import Declarations
from tests.relay.processes import a_relay
from tests.relay.world import STREAM, World, a_world
from tests.waiting import eventually

OURS = Stream("orders", "shop", partitions=1)


@pytest.fixture
async def two(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    """Two streams, of which one waits."""
    async with a_world(mongo, database, redis, [STREAM, OURS]) as made:
        await made.append("f1")
        yield made


async def test_what_another_relay_drains_counts_unless_it_is_paused_and_from_when_it_was_resumed(
    two: World, mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=two.database.name, redis_url=redis_url)
    declarations = Declarations(two.database, settings, [OURS.name])
    await declarations.check()
    backlog = Backlog(two.database, two.redis, declarations.streams, declarations.registered)

    async def waits() -> float | None:
        await declarations.read()
        return (await backlog.run_once()).waiting.oldest_pending_seconds

    real = oldest._waiting_since

    def hour_before(message: Document) -> datetime:
        return real(message) - timedelta(hours=1)

    monkeypatch.setattr(oldest, "_waiting_since", hour_before)
    assert (await waits() or 0.0) > 3000
    await pausing.pause(two.database, STREAM.name, who="anna")
    assert await waits() is None
    await pausing.resume(two.database, STREAM.name, who="anna")
    assert (await waits() or 0.0) < 3000
    assert (await pauses.read(two.database)).resumed[STREAM.name]


async def test_a_relay_of_other_streams_tells_of_no_delay_in_a_paused_one(
    two: World, mongodb_uri: str, redis_url: str, tmp_path: Path
) -> None:
    await pausing.pause(two.database, STREAM.name, who="anna")
    port = ports.pick("127.0.0.1")
    environment = {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": two.database.name, "REDIS_URL": redis_url,
        "OUTBOX_RELAY_STREAMS": OURS.name,
    }  # fmt: skip

    async def metrics() -> list[str]:
        async with httpx.AsyncClient(timeout=60) as client:
            return (await client.get(f"http://127.0.0.1:{port}/metrics")).text.splitlines()

    async def measured() -> bool:
        return 'relay_waiting_messages{state="pending"} 1.0' in await metrics()

    with a_relay(tmp_path / "relay.log", environment, "--port", str(port)) as relay:
        relay.started()
        await eventually(measured, 15, what="a look at what waits")
        assert "relay_oldest_pending_seconds 0.0" in await metrics()

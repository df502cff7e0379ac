"""What a relay's metrics say in the situations that alerts are about, from real servers and a real relay."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from bson import ObjectId

from outbox.database import OUTBOX
from outbox.embedded import RedisServer, ports
from outbox.message.document import State
from outbox.operations import stats
from outbox_relay.backlog import Backlog
from outbox_relay.drained import Drained, Outcome
from outbox_relay.metrics import Metrics
from tests.outbox.shelf import a_document
from tests.relay.processes import RelayProcess
from tests.relay.test_replays import STREAM_SETTING
from tests.relay.world import STREAM, World
from tests.waiting import eventually


@pytest.fixture
def environment(mongodb_uri: str, database: str, redis_url: str) -> dict[str, str]:
    return {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url,
        "OUTBOX_RELAY_LEASE_SECONDS": "2",
        "OUTBOX_STREAMS": json.dumps([STREAM_SETTING]),
    }  # fmt: skip


async def test_a_pass_tells_how_long_its_oldest_new_message_took(world: World) -> None:
    await world.append("f1", "f2")
    owner = await world.owner()
    drained = await owner.drain()
    assert drained.latency is not None
    assert 0 <= drained.latency < 60
    await world.database[OUTBOX].update_many({}, {"$set": {"state": "pending"}})
    assert (await owner.drain()).latency is None  # a repetition was appended long ago


def test_batches_are_observed() -> None:
    metrics = Metrics()
    metrics.observe(Drained(Outcome.MORE, published=7, seconds=0.2, latency=0.03, held_back=1.5))
    metrics.observe(Drained(Outcome.EMPTY))
    text = metrics.exposition().decode()
    assert 'relay_batch_messages_bucket{le="5.0"} 0.0' in text
    assert 'relay_batch_messages_bucket{le="10.0"} 1.0' in text
    assert 'relay_publish_latency_seconds_bucket{le="0.05"} 1.0' in text
    assert "relay_published_messages_total 7.0" in text
    assert "relay_held_back_seconds_total 1.5" in text


async def test_what_waits_is_counted(world: World) -> None:
    await world.append("f1", "f2")
    await world.database[OUTBOX].insert_one(a_document(State.DEAD))
    waiting = await stats.waiting(world.database, world.streams)
    assert (waiting.scheduled, waiting.pending, waiting.dead) == (0, 2, 1)
    assert waiting.oldest_pending_seconds is not None


async def test_undelivered_entries_are_counted_by_stream_and_forgotten_while_redis_is_away(
    world: World, redis_server: RedisServer
) -> None:
    owner = await world.owner()
    await world.append("f1", "f2", "f3")
    await owner.drain()
    await world.redis.xreadgroup(STREAM.group, "a", {STREAM.name: ">"}, count=1)
    metrics = Metrics()
    metrics.observe(await Backlog(world.database, world.redis, world.streams).run_once())
    assert f'relay_undelivered_entries{{stream="{STREAM.name}"}} 2.0' in metrics.exposition().decode()
    redis_server.kill()
    metrics.observe(await Backlog(world.database, world.redis, world.streams).run_once())
    assert "relay_undelivered_entries{" not in metrics.exposition().decode()


async def test_an_incident_as_the_alert_rules_see_it(
    world: World,
    environment: dict[str, str],
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    """Messages lost by Redis, an outage, a dead message: each series that a rule asks for says so, and none before."""
    port = ports.pick("127.0.0.1")
    relay = RelayProcess(tmp_path / "relay.log", environment, "--port", str(port))
    relay.start()
    try:

        async def value(series: str) -> float:
            async with httpx.AsyncClient(timeout=60) as client:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
            assert found, series
            return float(found[1])

        relay.started()
        await world.append(*(str(ObjectId()) for _ in range(3)))

        async def published() -> bool:
            return await value("relay_published_messages_total") == 3

        await eventually(published, 15)
        assert await value("relay_live_relays") == 1
        assert await value("relay_recovered_messages_total") == 0
        assert await value('relay_outage_seconds_total{server="redis"}') == 0

        await world.redis.flushall()

        async def recovered() -> bool:
            return await value("relay_recovered_messages_total") == 3

        await eventually(recovered, 20, what="the loss is seen")
        redis_server.kill()
        await world.append("f1")
        poison = a_document(State.PENDING, partition=0, fields={})
        await world.database[OUTBOX].insert_one(poison, bypass_document_validation=True)

        async def away() -> bool:
            return await value('relay_outage_seconds_total{server="redis"}') > 2

        await eventually(away, 20, what="the outage is counted while it lasts")

        async def waits() -> bool:
            return await value("relay_oldest_pending_seconds") > 1

        await eventually(waits, 20)
        redis_server.start()

        async def told() -> bool:
            return await value('relay_waiting_messages{state="dead"}') == 1

        await eventually(told, 20)
    finally:
        relay.kill()
        redis_server.start()


@pytest.mark.parametrize("state", ["scheduled", "pending", "dead"])
def test_every_label_is_there_from_the_start(state: str) -> None:
    assert f'relay_waiting_messages{{state="{state}"}} 0.0' in Metrics().exposition().decode()

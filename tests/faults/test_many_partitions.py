"""More partitions than a client has connections by default, on a slow network: no outage, where there is none."""

from __future__ import annotations

import time
from typing import Any

import pytest

from outbox import Outbox
from outbox.draft import Draft
from outbox.message import schema
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream, Streams
from tests.faults import relays
from tests.faults.scenario import Scenario
from tests.waiting import eventually

MANY = Stream("many", "workers", partitions=150)
SECONDS = 0.5
"""Each way of a request and its reply, so that on any machine all partitions wait for theirs at the same time."""


@pytest.mark.slow
async def test_a_burst_in_many_partitions_on_a_slow_network_is_no_outage(scenario: Scenario) -> None:
    streams = Streams([MANY])
    await schema.ensure(scenario.database, streams)
    outbox = Outbox(streams, database=scenario.database.name)
    keys = {MANY.partition_of(key): key for key in map(str, range(5000))}
    assert len(keys) == MANY.partitions
    settings = load(
        OutboxSettings, outbox_streams=[{"name": "many", "group": "workers", "partitions": 150}],
        **{name: getattr(scenario.settings, name) for name in ("mongodb_uri", "mongodb_database", "redis_url")},
    )  # fmt: skip

    async def append(session: Any) -> None:
        await outbox.append_many(session, MANY.name, [Draft({"n": key}, key) for key in keys.values()])

    async def all_published(count: int) -> bool:
        async with scenario.at_redis() as redis:
            return int(await redis.xlen(MANY.name)) == count

    async with relays.in_this_process(settings, relay_lease_seconds=30, relay_verify_seconds=5):
        for burst, seconds in ((1, 0.0), (2, SECONDS), (3, SECONDS)):
            scenario.to_mongo.latency = scenario.to_redis.latency = seconds
            began = time.monotonic()
            async with scenario.client.start_session() as session:
                await session.with_transaction(append)
            await eventually(lambda: all_published(burst * MANY.partitions), 30)  # noqa: B023
            print(f"burst {burst}: {time.monotonic() - began:.2f} s")
    assert not scenario.told("unavailable"), scenario.everything_told()

"""Rescue, stream by stream."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.database import Document
from outbox.errors import CommitUnknown
from outbox.message.outcome import Found
from outbox.servers import transaction
from outbox.streams.declaration import Partition, Retry, Stream, Streams
from outbox.streams.registry import Registered
from outbox.worker import rescue as rescuing
from outbox_relay.backlog import Backlog
from outbox_relay.outage import Outages
from outbox_relay.rescuer import Rescuer
from outbox_relay.service import Service
from tests.relay.world import PARTITION, STREAM, World, a_world
from tests.waiting import eventually


class Rescue:
    """Of which one stream is on a node that is away."""

    def __init__(self) -> None:
        self.looked_at: list[str] = []

    async def times_ahead(self, stream: Stream) -> int:
        return 0

    async def abandoned(self, stream: Stream) -> Found:
        if stream.name == "alpha":
            raise RedisConnectionError("away")
        self.looked_at.append(stream.name)
        return Found()

    async def vanished(self, stream: Stream, partition: object) -> Found:
        return Found()

    async def held(self, stream: Stream) -> list[Any]:
        return []


async def test_a_stream_that_fails_does_not_keep_the_others_from_being_rescued() -> None:
    streams = Streams([Stream(name, "workers", 2) for name in ("alpha", "beta", "delta")])
    rescue = Rescue()
    with pytest.raises(RedisConnectionError):
        await Rescuer(streams, cast(Any, rescue), lambda: [*streams.partitions()]).run_once()
    assert rescue.looked_at == ["beta", "delta"]


async def test_a_stream_that_is_removed_meanwhile_ends_no_pass() -> None:
    streams = Registered([Stream(name, "workers", 1) for name in ("beta", "gamma", "delta")])

    class Removing(Rescue):
        """While the first stream is looked at, somebody removes the others."""

        async def vanished(self, stream: Stream, partition: object) -> Found:
            streams.take(Registered([streams["beta"]]))
            return Found()

    partitions = [Partition(name, 0) for name in ("beta", "gamma", "delta")]
    rescue = Removing()
    for _ in range(2):
        await Rescuer(streams, cast(Any, rescue), lambda: partitions).run_once()
    assert rescue.looked_at == ["beta", "gamma", "delta", "beta"]


async def test_a_stream_that_is_removed_while_the_backlog_is_counted_ends_nothing(
    world: World, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Registered([STREAM, Stream("gamma", "workers")])

    async def undelivered(*_: object) -> dict[str, int]:
        streams.take(Registered([STREAM]))
        return {STREAM.name: 1, "gamma": 2}

    monkeypatch.setattr("outbox_relay.backlog.groups.undelivered", undelivered)
    measured = await Backlog(world.database, redis, streams).run_once()
    assert measured.undelivered == {STREAM.name: 1, "gamma": 2}


async def test_a_commit_whose_outcome_is_not_known_ends_nothing_and_the_next_look_decides(
    mongo: AsyncMongoClient[Document], database: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry is not acknowledged, so that it is found again."""
    once = replace(STREAM, rescue_seconds=0.05, retry=Retry(attempts=1))
    run, lost = transaction.run, [AutoReconnect("connection closed")]

    async def lose_the_first_reply(*args: Any, **options: Any) -> Any:
        if lost:
            raise CommitUnknown("the reply to a commit was lost") from lost.pop()
        return await run(*args, **options)

    async def none_waiting() -> int:
        return 0

    async with a_world(mongo, database, redis, [once]) as world:
        [id_] = await world.append("f1")
        await (await world.owner()).drain_all()
        await redis.xreadgroup(once.group, "dies", {once.name: ">"})
        monkeypatch.setattr(transaction, "run", lose_the_first_reply)
        rescuer = Rescuer(world.streams, rescuing.Rescue(world.database, redis), lambda: [PARTITION])
        outages = Outages({"mongodb": lambda: mongo.admin.command("ping")}, none_waiting)
        service = Service("rescue", rescuer.run_once, outages, interval=0.05)
        running = asyncio.create_task(service.run())

        async def is_dead() -> bool:
            return running.done() or (await world.states())[id_] == "dead"

        await eventually(is_dead)
        service.quiet()
        await running
        outages.close()
        assert not lost
        assert (await world.states())[id_] == "dead"
        assert not await world.entries()

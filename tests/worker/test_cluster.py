"""Workers and rescue where each stream is on a server of its own."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from bson import ObjectId
from pymongo import AsyncMongoClient

from outbox import Draft, Outbox
from outbox.database import Database, Document
from outbox.embedded import RedisServer
from outbox.message import schema
from outbox.message.outcome import Found
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer, Message
from outbox.worker.rescue import Rescue
from tests.faults.topologies import ThreePrimaries
from tests.relay.processes import RelayProcess
from tests.waiting import eventually, stays
from tests.worker.processes import at_work, running

NAMES = ["alpha", "beta", "delta"]
"""Streams whose slots belong to three different primaries."""


def the_environment(
    mongodb_uri: str, database: str, cluster: ThreePrimaries, declared: list[dict[str, Any]]
) -> dict[str, str]:
    return {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": cluster.url,
        "OUTBOX_STREAMS": json.dumps(declared),
    }  # fmt: skip


def _as_settings(environment: dict[str, str]) -> dict[str, Any]:
    return {name.lower(): json.loads(v) if name == "OUTBOX_STREAMS" else v for name, v in environment.items()}


async def test_a_consumer_reads_streams_of_several_primaries_and_what_it_leaves_is_rescued(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def handle(message: Message, session: object) -> None:
        seen.append(message.stream)

    declared = [{"name": name, "group": "workers", "partitions": 1} for name in NAMES]
    with ThreePrimaries(tmp_path) as cluster:
        environment = the_environment(mongodb_uri, database, cluster, declared)
        settings = load(OutboxSettings, **_as_settings(environment))
        db, outbox = Database(mongo, database), Outbox(settings.streams, database=database)
        await schema.ensure(db, settings.streams)

        async def append() -> None:
            async with mongo.start_session() as session, await session.start_transaction():
                for name in NAMES:
                    await outbox.append(session, name, {"n": "1"}, key=name)

        async def completed(count: int) -> bool:
            return await db.outbox.count_documents({"state": "completed"}) == count

        async def published() -> bool:
            return await db.outbox.count_documents({"state": "published"}) == 3

        await append()
        with running(RelayProcess(tmp_path / "relay.log", environment)):
            async with at_work(Consumer(settings, handle)):
                await eventually(lambda: completed(3), 30)
            await append()
            await eventually(published, 30)
        assert sorted(seen) == NAMES
        async with connect_redis(settings) as redis:
            rescue = Rescue(db, redis)
            for name in NAMES:
                stream, new = replace(settings.streams[name], rescue_seconds=0.05), dict[Any, Any]({name: ">"})
                await redis.xreadgroup("workers", "worker-1", new)

                async def found(stream: Any = stream) -> bool:
                    return await rescue.abandoned(stream) == Found(rescued=1)

                await eventually(found)


async def test_one_primary_is_away_and_the_streams_of_the_others_are_worked_on(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, tmp_path: Path
) -> None:
    started: Counter[ObjectId] = Counter()
    held, release = asyncio.Event(), asyncio.Event()

    async def handle(message: Message, session: object) -> None:
        started[message.id] += 1
        if message.fields["n"] == "long":
            held.set()
            await release.wait()

    declared = [{"name": name, "group": "workers", "partitions": 1} for name in NAMES]
    with ThreePrimaries(tmp_path, options={"cluster-require-full-coverage": "no"}) as cluster:
        environment = the_environment(mongodb_uri, database, cluster, declared)
        settings = load(OutboxSettings, **_as_settings(environment))
        db, outbox = Database(mongo, database), Outbox(settings.streams, database=database)
        await schema.ensure(db, settings.streams)

        async def append(name: str, *fields: str) -> None:
            drafts = [Draft({"n": n}, f"{name}-{n}-{k}") for k, n in enumerate(fields)]
            async with mongo.start_session() as session, await session.start_transaction():
                await outbox.append_many(session, name, drafts)

        async def completed(count: int, *names: str) -> bool:
            query = {"state": "completed", "stream": {"$in": names}}
            return await db.outbox.count_documents(query) == count

        def consumer() -> Consumer:
            # As many as the entries of the primary that goes away: they must not keep all hands.
            return Consumer(settings, handle, concurrency=4, silent_seconds=3)

        with running(RelayProcess(tmp_path / "relay.log", environment)):
            async with at_work(consumer()), at_work(consumer()):
                await append("beta", "long")
                await eventually(held.is_set, 30)
                holder = who_holds_the_oldest(cluster.owner("beta"))
                await append("alpha", *"1234567890")
                await eventually(lambda: sum(started.values()) > 5, 30)
                node = cluster.owner("alpha")
                node.kill()
                await append("alpha", *"12345")
                for _ in range(4):
                    for name in ("beta", "delta"):
                        await append(name, *"12345")
                        await eventually(partial(all_but, db, name, 1 if name == "beta" else 0), 15)
                # Longer than silence: the long one kept its entry, and nobody else began with it.
                await stays(lambda: completed(40, "beta", "delta"), 5)
                assert who_holds_the_oldest(cluster.owner("beta")) == holder
                node.start()
                release.set()
                await eventually(lambda: completed(41 + 15, *NAMES), 30)
    [long] = [m["_id"] async for m in db.outbox.find({"fields.n": "long"})]
    assert started[long] == 1


def who_holds_the_oldest(node: RedisServer) -> str:
    """Whoever takes an entry over may have to wait before it begins: so who holds it is looked at."""
    with node.client() as client:
        [entry] = cast(Any, client.xpending_range("beta", "workers", "-", "+", 1))
    return str(entry["consumer"])


async def all_but(db: Any, name: str, count: int) -> bool:
    return bool(await db.outbox.count_documents({"stream": name, "state": {"$ne": "completed"}}) == count)


async def test_a_stream_in_shards_is_spread_over_the_primaries_and_keeps_the_order_of_each_key(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, tmp_path: Path
) -> None:
    keys, rounds = [f"key-{n}" for n in range(30)], 8
    handled: Counter[tuple[str, str]] = Counter()

    async def handle(message: Message, session: object) -> None:
        handled[message.key, message.fields["round"]] += 1

    declared = [{"name": "tasks", "group": "workers", "partitions": 2, "shards": 6}]
    with ThreePrimaries(tmp_path) as cluster:
        environment = the_environment(mongodb_uri, database, cluster, declared)
        settings = load(OutboxSettings, **_as_settings(environment))
        db, outbox = Database(mongo, database), Outbox(settings.streams, database=database)
        await schema.ensure(db, settings.streams)
        with running(RelayProcess(tmp_path / "relay.log", environment)):
            for number in range(rounds):
                drafts = [Draft({"round": str(number)}, key) for key in keys]
                async with mongo.start_session() as session, await session.start_transaction():
                    await outbox.append_many(session, "tasks", drafts)

            async def published() -> bool:
                return await db.outbox.count_documents({"state": "published"}) == len(keys) * rounds

            await eventually(published, 30)
            where: dict[str, list[tuple[str, int]]] = defaultdict(list)
            async with connect_redis(settings) as redis:
                for name in settings.streams:
                    entries = cast(Any, await redis.xrange(name))
                    assert entries, f"nothing in {name}"
                    for _, fields in entries:
                        message = await db.outbox.find_one({"_id": ObjectId(fields["message_id"])})
                        assert message
                        where[message["key"]].append((name, int(fields["round"])))
            # All of a key in one of the shards, each once, as they were appended; and the shards on several servers.
            assert where.keys() == set(keys)
            assert all([n for _, n in there] == list(range(rounds)) for there in where.values())
            assert {len({name for name, _ in there}) for there in where.values()} == {1}
            assert len({cluster.owner(name) for name in settings.streams}) > 1

            async def completed() -> bool:
                return await db.outbox.count_documents({"state": "completed"}) == len(keys) * rounds

            async with at_work(Consumer(settings, handle)), at_work(Consumer(settings, handle)):
                await eventually(completed, 60)
    assert set(handled.values()) == {1}
    assert len(handled) == len(keys) * rounds

"""A consumer through outages of both servers: it waits, and what it did is there once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox.database import Document
from outbox.delivery.entries import OURS
from outbox.embedded import Mongod, RedisServer
from outbox.message.document import Sent
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.settings import OutboxSettings, load
from outbox.worker import Message
from outbox.worker.completion import Looks, Standing
from outbox.worker.locks import connection_name
from outbox.worker.presence import Presence
from outbox.worker.pulse import PROGRAM
from tests.relay.world import a_world
from tests.waiting import eventually, stays
from tests.worker.parser import Parser
from tests.worker.test_standing import showing_no_more
from tests.worker.workshop import Workshop


@pytest.fixture
async def redis_of_its_own(
    tmp_path: Path, mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str
) -> AsyncIterator[tuple[Workshop, RedisServer]]:
    with RedisServer(tmp_path / "redis", options={"appendfsync": "always"}) as server:
        settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=server.url)
        async with connect_redis(settings) as redis, a_world(mongo, database, redis) as world:
            yield Workshop(world, await world.owner(seconds=60), settings), server


async def test_redis_dies_while_a_handler_works(redis_of_its_own: tuple[Workshop, RedisServer]) -> None:
    workshop, server = redis_of_its_own
    parser = Parser(workshop)
    parser.gate = asyncio.Event()
    [first] = await workshop.publish("a")
    async with workshop.working(parser, silent_seconds=0.5):
        await eventually(lambda: parser.messages)
        server.kill()
        parser.gate.set()
        await eventually(lambda: workshop.in_state("completed", first))
        server.start()
        await workshop.world.redis.connection_pool.disconnect()  # the test's own connections are stale
        await eventually(workshop.all_acknowledged, 20)
        [second] = await workshop.publish("b")
        await eventually(lambda: workshop.in_state("completed", second))
    assert await parser.effects() == [first, second]


async def test_an_outage_of_redis_is_not_taken_for_a_handler_that_blocks_its_process(
    redis_of_its_own: tuple[Workshop, RedisServer],
) -> None:
    """What is done and waits to be acknowledged is in flight for as long as Redis is away, however long that is."""
    workshop, server = redis_of_its_own
    parser = Parser(workshop)
    parser.gate = asyncio.Event()
    [message] = await workshop.publish("a")
    async with workshop.working(parser, silent_seconds=0.5, handler_seconds=6):
        await eventually(lambda: parser.messages)
        server.kill()
        parser.gate.set()
        await eventually(lambda: workshop.in_state("completed", message))
        [second] = [one for one in psutil.Process().children() if str(PROGRAM) in one.cmdline()]

        async def watches() -> bool:
            return second.status() != psutil.STATUS_ZOMBIE

        await stays(watches, 8)  # it ends, or ends its worker, after 6.5 without a sign
        server.start()
        await workshop.world.redis.connection_pool.disconnect()
        await eventually(workshop.all_acknowledged, 20)


async def test_a_stop_during_an_outage_of_redis(redis_of_its_own: tuple[Workshop, RedisServer]) -> None:
    workshop, server = redis_of_its_own
    async with workshop.working(Parser(workshop)):
        server.kill()


async def test_mongodb_dies_while_a_handler_works(tmp_path: Path, redis: Redis, redis_url: str) -> None:
    with Mongod(tmp_path / "mongod") as mongod:
        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_url)
        async with connect_mongo(settings) as mongo, a_world(mongo, settings.mongodb_database, redis) as world:
            workshop = Workshop(world, await world.owner(seconds=60), settings)
            parser = Parser(workshop)
            parser.gate = asyncio.Event()
            ids = await workshop.publish("a", "b", "c")
            async with workshop.working(parser):
                await eventually(lambda: {message.id for message in parser.messages} == {*ids})
                mongod.kill()
                parser.gate.set()
                mongod.start()
                await eventually(lambda: workshop.in_state("completed", *ids), 30)
                await eventually(workshop.all_acknowledged, 20)
            assert await parser.effects() == sorted(ids)
            messages = [await workshop.message(id_) for id_ in ids]
            assert not any("failed" in message for message in messages)


@pytest.mark.parametrize("plain", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["async", "plain"])
async def test_mongodb_is_away_for_a_handlers_first_statement(
    plain: bool, tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    """For so long that the statement ends in an error, and MongoDB is back while the error is looked at."""
    with Mongod(tmp_path / "mongod") as mongod:
        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_url)
        async with connect_mongo(settings) as mongo, a_world(mongo, settings.mongodb_database, redis) as world:
            workshop = Workshop(world, await world.owner(seconds=60), settings)
            at_work, gate = threading.Event(), threading.Event()

            def write(message: Message, session: ClientSession) -> None:
                at_work.set()
                gate.wait(60)
                files: Any = session.client[settings.mongodb_database].files
                files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

            async def write_async(message: Message, session: AsyncClientSession) -> None:
                at_work.set()
                await asyncio.to_thread(gate.wait, 60)
                files: Any = session.client[settings.mongodb_database].files
                await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

            [id_] = await workshop.publish("a")
            async with workshop.working(write if plain else write_async):
                await asyncio.to_thread(at_work.wait, 30)
                mongod.kill()
                gate.set()
                await asyncio.sleep(6)  # to find a server takes 5, at most
                mongod.start()
                await eventually(lambda: workshop.in_state("completed", id_), 60)
            assert "failed" not in await workshop.message(id_)


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_a_connection_that_is_lost_between_two_statements_costs_no_try(
    plain: bool, tmp_path: Path, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a proxy. The server is there, and the transaction too, in which nothing can be done any more."""

    async def not_now(_: object) -> None:
        """Instead of an update by the same client, which might be the one that is lost."""

    monkeypatch.setattr(Presence, "record", not_now)
    with Mongod(tmp_path / "mongod", extra_args=["--setParameter", "enableTestCommands=1"]) as mongod:
        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_url)
        async with connect_mongo(settings) as mongo, a_world(mongo, settings.mongodb_database, redis) as world:
            workshop = Workshop(world, await world.owner(seconds=60), settings)
            calls: list[str] = []
            name = connection_name(f"{OURS}worker", settings.place)

            def lose_next() -> None:
                data = {"failCommands": ["update"], "closeConnection": True, "appName": name}
                with mongod.client() as client:
                    client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)

            def write(message: Message, session: ClientSession) -> None:
                files: Any = session.client[settings.mongodb_database].files
                files.find_one({"_id": message.key}, session=session)
                calls.append(message.key)
                if len(calls) == 1:
                    lose_next()
                files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

            async def write_async(message: Message, session: AsyncClientSession) -> None:
                files: Any = session.client[settings.mongodb_database].files
                await files.find_one({"_id": message.key}, session=session)
                calls.append(message.key)
                if len(calls) == 1:
                    await asyncio.to_thread(lose_next)
                await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

            [id_] = await workshop.publish("a")
            async with workshop.working(write if plain else write_async, name="worker"):
                await eventually(lambda: workshop.in_state("completed", id_), 30)
            assert len(calls) == 2
            assert "failed" not in await workshop.message(id_)


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_a_commit_that_is_interrupted_while_a_majority_is_waited_for_is_no_failure(
    plain: bool, tmp_path: Path, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server's clock steps past the time that a transaction may take: it is carried out all the same."""
    with Mongod(tmp_path / "mongod", extra_args=["--setParameter", "enableTestCommands=1"]) as mongod:
        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_url)
        async with connect_mongo(settings) as mongo, a_world(mongo, settings.mongodb_database, redis) as world:
            workshop = Workshop(world, await world.owner(seconds=60), settings)
            calls: list[str] = []
            name = connection_name(f"{OURS}worker", settings.place)
            data = {
                "failCommands": ["commitTransaction"],
                "writeConcernError": {"code": 290, "errmsg": "too old"},
                "appName": name,
            }
            with mongod.client() as client:
                client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)

            def write(message: Message, session: ClientSession) -> None:
                calls.append(message.key)
                files: Any = session.client[settings.mongodb_database].files
                files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

            async def write_async(message: Message, session: AsyncClientSession) -> None:
                calls.append(message.key)
                files: Any = session.client[settings.mongodb_database].files
                await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

            [id_] = await workshop.publish("a")
            asked: list[Sent] = []
            surely = Looks.surely

            async def noted(looks: Looks, sent: Sent) -> Standing:
                asked.append(sent)
                return await surely(looks, sent)

            monkeypatch.setattr(Looks, "surely", noted)
            with capture_logs() as logs:
                async with workshop.working(write if plain else write_async, name="worker"):
                    # Until the worker has decided, what it did is not a majority's.
                    with showing_no_more(mongod):
                        await eventually(lambda: asked or len(calls) > 1, 30)
                    await eventually(workshop.all_acknowledged, 30)
            assert calls == ["a"]
            assert await workshop.in_state("completed", id_)
            assert not [line for line in logs if line["event"].startswith("failed")]


async def test_the_group_is_waited_for(workshop: Workshop) -> None:
    parser = Parser(workshop)
    await workshop.world.redis.flushall()
    async with workshop.working(parser):
        await asyncio.sleep(0)
        [id_] = await workshop.publish("a")
        await eventually(lambda: workshop.in_state("completed", id_))

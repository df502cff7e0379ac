"""Errors as the servers really give them, and whether they pass by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import cast

import pytest
import redis.exceptions as redis_errors
from pymongo import AsyncMongoClient
from pymongo import errors as mongo_errors
from redis.asyncio import Redis

from outbox import OutboxError
from outbox.database import Document
from outbox.embedded import RedisServer
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.servers.outages import Trouble, classify, server_of
from outbox.settings import OutboxSettings, load

ADD = "return redis.call('XADD', KEYS[1], '*', 'a', 'b')"
"""As the relay writes: the server's refusal comes out of a script."""


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that is brought into trouble, and not the one that the other tests share."""
    with RedisServer(tmp_path_factory.mktemp("troubled"), options={"busy-reply-threshold": "20"}) as server:
        yield server


@pytest.fixture
async def client(troubled: RedisServer) -> AsyncIterator[Redis]:
    async with connect_redis(load(OutboxSettings, redis_url=troubled.url), timeout_seconds=30) as client:
        await client.flushall()
        yield cast(Redis, client)


def another(client: Redis, credentials: str = "", timeout_seconds: float = 30) -> Redis:
    """A client to the same server, as somebody else."""
    address = client.connection_pool.connection_kwargs
    url = f"redis://{credentials}{address['host']}:{address['port']}"
    return cast(Redis, connect_redis(load(OutboxSettings, redis_url=url), timeout_seconds=timeout_seconds))


async def failure(awaitable: Awaitable[object]) -> Exception:
    with pytest.raises((redis_errors.RedisError, OSError)) as caught:
        await awaitable
    return caught.value


async def add(client: Redis) -> object:
    return await client.eval(ADD, 1, "stream")


async def out_of_memory(client: Redis) -> Exception:
    await client.config_set("maxmemory", "1")
    try:
        return await failure(add(client))
    finally:
        await client.config_set("maxmemory", "0")


async def no_replicas(client: Redis) -> Exception:
    await client.config_set("min-replicas-to-write", "1")
    try:
        return await failure(add(client))
    finally:
        await client.config_set("min-replicas-to-write", "0")


async def read_only(client: Redis) -> Exception:
    await client.replicaof("127.0.0.1", "1")
    try:
        return await failure(add(client))
    finally:
        await client.replicaof("NO", "ONE")


async def primary_down(client: Redis) -> Exception:
    await client.config_set("replica-serve-stale-data", "no")
    await client.replicaof("127.0.0.1", "1")
    try:
        return await failure(client.xlen("stream"))
    finally:
        await client.replicaof("NO", "ONE")
        await client.config_set("replica-serve-stale-data", "yes")


async def busy(client: Redis) -> Exception:
    async with another(client) as other:
        endless = asyncio.create_task(failure(other.eval("while true do end", 0)))
        while not isinstance(error := await outcome(client.xlen("stream")), Exception):
            pass  # each round is a request to the server, until the script is seen to be at it
        while await outcome(client.script_kill()) is not True:
            pass
        await endless
    return error


async def outcome(awaitable: Awaitable[object]) -> object:
    try:
        return await awaitable
    except redis_errors.RedisError as error:
        return error


async def no_answer(client: Redis) -> Exception:
    await client.client_pause(60_000, all=False)  # what writes
    try:
        async with another(client, timeout_seconds=0.5) as hurried:
            return await failure(hurried.set("stream", "1"))
    finally:
        await client.client_unpause()


async def wrong_type(client: Redis) -> Exception:
    await client.set("stream", "text")
    return await failure(add(client))


async def no_permission(client: Redis) -> Exception:
    await client.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=["+@read"])
    async with another(client, "reader:x@") as reader:
        return await failure(add(reader))


async def wrong_password(client: Redis) -> Exception:
    async with another(client, "nobody:x@") as stranger:
        return await failure(stranger.ping())


async def no_password(client: Redis) -> Exception:
    await client.config_set("requirepass", "secret")
    try:
        async with another(client) as stranger:
            return await failure(add(stranger))
    finally:
        await client.config_set("requirepass", "")


async def nobody_listens(_: Redis) -> Exception:
    async with connect_redis(load(OutboxSettings, redis_port=9)) as client:
        return await failure(client.ping())


Situation = Callable[[Redis], Awaitable[Exception]]


@pytest.mark.parametrize(
    "situation", [out_of_memory, no_replicas, read_only, primary_down, busy, no_answer, nobody_listens]
)
async def test_what_passes_by_itself_is_an_outage(situation: Situation, client: Redis) -> None:
    error = await situation(client)
    assert classify(error) is Trouble.OUTAGE, repr(error)
    assert server_of(error) == "redis"


@pytest.mark.parametrize("situation", [wrong_type, no_permission, wrong_password, no_password])
async def test_what_an_operator_must_mend_is_misconfigured(situation: Situation, client: Redis) -> None:
    error = await situation(client)
    assert classify(error) is Trouble.MISCONFIGURED, repr(error)


@pytest.mark.parametrize(
    "text",
    [
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots, but it is unable to persist to disk.",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MOVED 3999 127.0.0.1:6381",
        "UNKILLABLE Sorry the script already executed write commands against the dataset.",
        "max number of clients + cluster connections reached",
        "Error running script (call to f_8ea1): @user_script:10: @user_script: 10: -OOM command not allowed when used "
        "memory > 'maxmemory'.",
    ],
)
def test_replies_that_are_hard_to_bring_about(text: str) -> None:
    assert classify(redis_errors.ResponseError(text)) is Trouble.OUTAGE


def test_a_reply_that_nothing_is_known_about_is_told_loudly() -> None:
    assert classify(redis_errors.ResponseError("ERR something new")) is Trouble.MISCONFIGURED


@pytest.mark.parametrize("error", [ValueError("a defect"), OutboxError("ours"), KeyError("x")])
def test_what_is_no_servers_error_is_a_defect(error: Exception) -> None:
    assert classify(error) is None


async def test_a_mongod_that_is_away_is_an_outage() -> None:
    uri = "mongodb://127.0.0.1:9/?directConnection=true"
    async with connect_mongo(load(OutboxSettings, mongodb_uri=uri), server_selection_seconds=0.1) as away:
        with pytest.raises(mongo_errors.PyMongoError) as caught:
            await away.admin.command("ping")
    assert classify(caught.value) is Trouble.OUTAGE
    assert server_of(caught.value) == "mongodb"


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (mongo_errors.NotPrimaryError("not primary"), Trouble.OUTAGE),
        (mongo_errors.NetworkTimeout("timed out"), Trouble.OUTAGE),
        (mongo_errors.ExecutionTimeout("operation exceeded time limit", 50), Trouble.OUTAGE),
        (mongo_errors.WriteConcernError("waiting for replication timed out", 64), Trouble.OUTAGE),
        (
            mongo_errors.OperationFailure("write conflict", 112, {"errorLabels": ["TransientTransactionError"]}),
            Trouble.OUTAGE,
        ),
        (mongo_errors.CursorNotFound("cursor id 7 not found", 43), Trouble.OUTAGE),
        (mongo_errors.OperationFailure("Unable to read from a snapshot", 246), Trouble.OUTAGE),
        (mongo_errors.WriteError("transaction is too large for the cache", 388), Trouble.OUTAGE),
        (mongo_errors.WriteError("Not primary while writing to files.outbox", 10107), Trouble.OUTAGE),
        (mongo_errors.WriteError("operation was interrupted", 11602), Trouble.OUTAGE),
        (mongo_errors.OperationFailure("Could not find host matching read preference", 133), Trouble.OUTAGE),
        (mongo_errors.OperationFailure("version mismatch detected for outbox.outbox", 13388), Trouble.OUTAGE),
        (mongo_errors.OperationFailure("operation was interrupted", 11601), Trouble.OUTAGE),
        (mongo_errors.OperationFailure("New cluster time is too far from the wall clock", 205), Trouble.OUTAGE),
        (mongo_errors.WriteError("available disk space is less than required minimum", 14031), Trouble.OUTAGE),
        (mongo_errors.WriteError("a document is invalid", 121), Trouble.MISCONFIGURED),
        (mongo_errors.BulkWriteError({"writeErrors": [{"code": 189}, {"code": 11600}]}), Trouble.OUTAGE),
        (mongo_errors.BulkWriteError({"writeErrors": [{"code": 189}, {"code": 121}]}), Trouble.MISCONFIGURED),
        (mongo_errors.BulkWriteError({"writeConcernErrors": [{"code": 91}]}), Trouble.OUTAGE),
        (mongo_errors.WriteConcernError("Not enough data-bearing nodes", 100), Trouble.MISCONFIGURED),
        (mongo_errors.OperationFailure("not authorized on outbox", 13), Trouble.MISCONFIGURED),
        (mongo_errors.OperationFailure("Authentication failed.", 18), Trouble.MISCONFIGURED),
        (mongo_errors.OperationFailure("no such command", 59), Trouble.MISCONFIGURED),
        (mongo_errors.ConfigurationError("a wrong option"), Trouble.MISCONFIGURED),
        (mongo_errors.InvalidOperation("a cursor used twice"), None),
    ],
)
def test_errors_of_mongodb(error: Exception, trouble: Trouble | None) -> None:
    assert classify(error) is trouble


async def test_a_real_conflict_of_two_transactions_passes(mongo: AsyncMongoClient[Document], database: str) -> None:
    await mongo[database].things.insert_one({"_id": 1})
    async with mongo.start_session() as one, mongo.start_session() as two:
        await one.start_transaction()
        await two.start_transaction()
        await mongo[database].things.update_one({"_id": 1}, {"$set": {"a": 1}}, session=one)
        with pytest.raises(mongo_errors.OperationFailure) as caught:
            await mongo[database].things.update_one({"_id": 1}, {"$set": {"a": 2}}, session=two)
    assert classify(caught.value) is Trouble.OUTAGE

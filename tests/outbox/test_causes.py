"""Why a server does not do as asked is said, with the setting to look at: by what real servers and drivers say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pymongo
import pytest
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from outbox.embedded import Mongod, RedisServer
from outbox.errors import SettingsError
from outbox.operations import stats
from outbox.servers import causes, topology
from outbox.servers.causes import Cause
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.settings import OutboxSettings, load
from tests.faults.secured import GuardedMongod, behind_tls
from tests.faults.sentinels import SentinelServer
from tests.waiting import eventually

EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)
PATIENT = 20.0
"""Seconds for an answer that comes, be it a refusal. Nothing here is about a server that is silent."""


@pytest.fixture(autouse=True)
def patient_with_sentinels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "SENTINEL_SECONDS", PATIENT)


async def of_redis(url: str, *command: str) -> Cause:
    """The cause of what this command meets."""
    async with connect_redis(load(OutboxSettings, redis_url=url), timeout_seconds=PATIENT) as client:
        try:
            await client.execute_command(*(command or ("XLEN", "s")))
        except (RedisError, OSError) as error:
            return causes.explain(error)
    raise AssertionError("it did as asked")


async def of_mongodb(uri: str) -> Cause:
    async with connect_mongo(load(OutboxSettings, mongodb_uri=uri), server_selection_seconds=0.7) as client:

        def heard_of() -> bool:
            servers = client.topology_description.server_descriptions().values()
            return all(one.error or one.server_type_name != "Unknown" for one in servers)

        await client.aconnect()
        await eventually(heard_of, PATIENT)
        try:
            await client["outbox"]["x"].insert_one({})
        except PyMongoError as error:
            return causes.explain(error)
    raise AssertionError("it did as asked")


async def of_a_second_transaction(uri: str) -> Cause:
    """With a limit of time, as nearly all of ours have one, and in a program that was refused before."""
    async with connect_mongo(load(OutboxSettings, mongodb_uri=uri)) as client, client.start_session() as session:

        async def insert(session: AsyncClientSession | None = None) -> None:
            await client["outbox"]["x"].insert_one({}, session=session)

        with pytest.raises(PyMongoError):
            await insert()
        with pytest.raises(PyMongoError) as refused, pymongo.timeout(2):
            await session.with_transaction(insert)
        return causes.explain(refused.value)


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), options={"requirepass": "secret"}) as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "reader", "on", ">reader", "~*", "+@read", "+@connection")
        yield server


async def test_a_redis_that_takes_no_more_connections(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", options={"maxclients": "1"}) as server, server.client() as client:
        client.ping()
        cause = await of_redis(server.url)
    assert "takes no more connections" in cause.what
    assert "maxclients" in cause.do
    assert cause.passes


async def test_redis_and_who_may_do_what(guarded_redis: RedisServer) -> None:
    address = guarded_redis.address
    assert "asks for a password" in (await of_redis(f"redis://{address}/0")).what
    for who in ("", "nobody"):
        wrong = await of_redis(f"redis://{who}:wrong@{address}/0")
        assert "refuses the user or the password" in wrong.what
        assert "REDIS_PASSWORD" in wrong.do
        assert "wrong" not in str(wrong)
    reader = await of_redis(f"redis://reader:reader@{address}/0", "XADD", "s", "*", "a", "b")
    assert "lacks a permission" in reader.what
    assert "xadd" in reader.detail
    assert not reader.passes


async def test_an_address_that_leads_elsewhere(redis_server: RedisServer, tmp_path: Path) -> None:
    there = f"127.0.0.1:{redis_server.port}"
    assert "no database of this number" in (await of_redis(f"redis://{there}/99")).what
    assert "is not a cluster" in (await of_redis(f"redis+cluster://{there}")).what
    assert "leads to a Redis" in (await of_redis(f"redis+sentinel://{there}/mymaster")).what

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web:
        port = web.sockets[0].getsockname()[1]
        assert "is not a Redis" in (await of_redis(f"redis://127.0.0.1:{port}/0")).what
    nobody = await of_redis("redis://127.0.0.1:1/0")
    assert "cannot be reached" in nobody.what
    assert nobody.passes
    assert "host is not known" in (await of_redis("redis://no-such-host.invalid/0")).what
    assert "socket is not there" in (await of_redis(f"unix://{tmp_path}/none.sock")).what


async def test_sentinels(redis_server: RedisServer, redis_url: str, tmp_path: Path) -> None:
    with SentinelServer(tmp_path, name="sentinel", port=redis_server.port, service="mymaster", quorum=1) as sentinel:
        assert "is a Sentinel" in (await of_redis(f"redis://{sentinel.address}/0")).what
        wrong = await of_redis(f"redis+sentinel://{sentinel.address}/other")
        assert "watch no service of this name" in wrong.what
        assert "'other'" in wrong.detail
        assert not wrong.passes
    gone = await of_redis(f"redis+sentinel://{sentinel.address}/mymaster")
    assert gone.what == "No Sentinel answers"
    assert gone.passes


async def test_certificates_of_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    target = ("127.0.0.1", redis_server.port)
    async with behind_tls(target, tmp_path) as (port, authority):
        assert "is signed by nobody" in (await of_redis(f"rediss://127.0.0.1:{port}/0")).what
        with pytest.raises(SettingsError, match=r"ssl_ca_certs=.*none.pem cannot be read"):
            await of_redis(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/none.pem")
        plain = await of_redis(f"redis://127.0.0.1:{port}/0")
        assert "closes connections" in plain.what
        assert "rediss://" in plain.do
    async with behind_tls(target, tmp_path, "elsewhere.example") as (port, authority):
        assert "is for another host" in (await of_redis(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}")).what
    async with behind_tls(target, tmp_path, "127.0.0.1", EXPIRED) as (port, authority):
        assert "has expired" in (await of_redis(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}")).what


async def test_certificates_of_mongodb(mongod: Mongod, tmp_path: Path) -> None:
    target = (mongod.host, mongod.port)
    tls = "directConnection=true&tls=true"
    async with behind_tls(target, tmp_path) as (port, authority):
        assert "is signed by nobody" in (await of_mongodb(f"mongodb://127.0.0.1:{port}/?{tls}")).what
        plain = await of_mongodb(f"mongodb://127.0.0.1:{port}/?directConnection=true")
        assert "tls=true" in plain.do
    async with behind_tls(target, tmp_path, "elsewhere.example") as (port, authority):
        assert (
            "is for another host" in (await of_mongodb(f"mongodb://127.0.0.1:{port}/?{tls}&tlsCAFile={authority}")).what
        )
    async with behind_tls(target, tmp_path, "127.0.0.1", EXPIRED) as (port, authority):
        assert "has expired" in (await of_mongodb(f"mongodb://127.0.0.1:{port}/?{tls}&tlsCAFile={authority}")).what
    assert (
        "does not speak TLS" in (await of_mongodb(f"mongodb://{mongod.address}/?tls=true&directConnection=true")).what
    )


async def test_mongodb_and_who_may_do_what(tmp_path: Path) -> None:
    with GuardedMongod(tmp_path) as server:
        server.guard()
        with server.client() as client:
            client.admin.command("createUser", "reader", pwd="reader", roles=["readAnyDatabase"])
        where = f"@{server.address}/?replicaSet={server.replica_set}&authSource="
        wrong = await of_mongodb(f"mongodb://relay:wrong{where}outbox")
        assert "refuses the user or the password" in wrong.what
        assert "authSource" in wrong.do
        assert await of_a_second_transaction(f"mongodb://relay:wrong{where}outbox") == wrong
        assert "asks for a user" in (await of_mongodb(f"mongodb://{where[1:]}admin")).what
        reader = await of_mongodb(f"mongodb://reader:reader{where}admin")
        assert (reader.what, reader.detail) == ("MongoDB's user lacks a right", "insert on outbox.x")
        assert not reader.passes


async def test_mongodb_elsewhere(mongod: Mongod) -> None:
    assert "has another name" in (await of_mongodb(f"mongodb://{mongod.address}/?replicaSet=other")).what
    nobody = await of_mongodb("mongodb://127.0.0.1:1/?replicaSet=rs0")
    assert "cannot be reached" in nobody.what
    assert nobody.passes
    assert "Topology" not in str(nobody)
    unknown = await of_mongodb("mongodb://no-such-host.invalid/?replicaSet=rs0")
    assert "cannot be reached" in unknown.what


class WithoutInfo(RedisServer):
    """As some services run it: a command is renamed, so that nobody has it."""

    def _answers(self) -> bool:
        with self.client() as client, suppress(RedisError):
            return bool(client.ping())
        return False


async def test_a_redis_without_the_command_info_is_reachable_all_the_same(tmp_path: Path) -> None:
    with WithoutInfo(tmp_path / "redis", options={"rename-command": 'INFO ""'}) as server:
        async with connect_redis(load(OutboxSettings, redis_url=server.url)) as client:
            found = await stats.glance(client)
    assert found.cause is None
    assert "allow the command INFO" in found.warnings[0]

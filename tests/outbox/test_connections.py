"""Clients for MongoDB: what the address may say, and what holds whatever it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from bson.codec_options import DatetimeConversion
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import ConnectionFailure, PyMongoError
from pymongo.read_preferences import Primary

from outbox.database import OUTBOX, Database
from outbox.embedded import Mongod, RedisServer, ReplicaSet
from outbox.errors import SettingsError
from outbox.message import schema
from outbox.message.document import Sent
from outbox.message.transitions import standing
from outbox.servers.causes import explain
from outbox.servers.connections import connect_mongo, connect_mongo_sync, connect_redis
from outbox.servers.outages import Trouble, classify
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES, Streams
from outbox.worker.completion import Standing, look
from tests.waiting import eventually

DANGEROUS = [
    "readPreference=secondary",
    "readPreference=secondaryPreferred&readPreferenceTags=dc:ny&readPreferenceTags=",
    "readpreference=nearest&maxStalenessSeconds=120",
    "maxStalenessSeconds=120",
    "readConcernLevel=local",
    "w=0",
    "w=1&journal=false",
    "w=1&wtimeoutMS=1",
    "fsync=true",
    "retryWrites=false&retryReads=false",
    "timeoutMS=1",
    "socketTimeoutMS=1&connectTimeoutMS=1&serverSelectionTimeoutMS=1",
    "tz_aware=false",
    "unicode_decode_error_handler=ignore",
]


def settings(options: str, address: str = "mongodb://h:1/") -> OutboxSettings:
    return load(OutboxSettings, mongodb_uri=f"{address}{'&' if '?' in address else '?'}{options}")


@pytest.mark.parametrize("options", DANGEROUS)
async def test_what_the_guarantees_rest_on_holds_whatever_the_address_says(options: str) -> None:
    async with connect_mongo(settings(options)) as client:
        _check(client)
    with connect_mongo_sync(settings(options)) as sync:
        _check(sync)


def _check(client: AsyncMongoClient[Any] | MongoClient[Any]) -> None:
    assert client.read_preference == Primary()
    assert client.read_concern.level == "majority"
    assert client.write_concern.document == {"w": "majority", "j": True, "wtimeout": 0, "fsync": False}
    assert client.options.retry_writes
    assert client.options.retry_reads
    assert client.options.timeout is None
    assert client.options.server_selection_timeout == 5
    assert (client.options.pool_options.connect_timeout, client.options.pool_options.socket_timeout) == (5, 30)
    assert client.codec_options.tz_aware
    assert client.codec_options.unicode_decode_error_handler == "strict"
    assert client.codec_options.datetime_conversion is DatetimeConversion.DATETIME


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("set")) as members:
        yield members


@pytest.mark.parametrize("options", ["readPreference=secondary", "w=0&readPreference=nearest&maxStalenessSeconds=90"])
async def test_what_was_written_is_read_at_once_and_a_doubt_is_settled_by_the_primary(
    replica_set: ReplicaSet, options: str
) -> None:
    async with connect_mongo(settings(options, replica_set.uri)) as client:
        database = Database(client, "test_connections")
        await schema.ensure(database, Streams([FILES]))
        for _ in range(50):
            id_ = (await database["files"].insert_one({})).inserted_id
            assert await database["files"].find_one({"_id": id_})
        # A linearizable read, which no secondary answers: the worker asked for ever.
        standing_now, _ = await look(database, Sent(ObjectId(), 1))
        assert standing_now is Standing.UNKNOWN
        assert await database[OUTBOX].count_documents(standing(Sent(ObjectId(), 1))) == 0


def directly(member: Mongod) -> OutboxSettings:
    return settings("directConnection=true", f"mongodb://{member.address}/")


async def test_a_member_that_is_not_the_primary_is_an_outage_also_where_the_address_leads_to_no_other(
    replica_set: ReplicaSet,
) -> None:
    """The driver would read there what may be old."""
    primary = replica_set.primary()
    [secondary, _] = replica_set.secondaries()
    async with connect_mongo(directly(primary)) as client:
        await client["test_connections"]["files"].insert_one({})
        assert await client["test_connections"]["files"].find_one()
    async with connect_mongo(directly(secondary)) as client:
        with pytest.raises(ConnectionFailure) as caught:
            await client["test_connections"]["files"].find_one()
    with connect_mongo_sync(directly(secondary)) as sync, pytest.raises(ConnectionFailure):
        sync["test_connections"]["files"].find_one()
    assert classify(caught.value) is Trouble.OUTAGE
    assert "MONGODB_URI leads to a member of the replica set that is not its primary" in str(explain(caught.value))


async def test_what_was_the_primary_is_read_no_more(replica_set: ReplicaSet) -> None:
    old = replica_set.primary()
    async with connect_mongo(directly(old)) as client:
        assert await client.admin.command("ping")
        assert await asyncio.to_thread(replica_set.step_down) is not old

        async def refused() -> bool:
            try:
                await client["test_connections"]["files"].find_one()
            except ConnectionFailure:
                return True
            return False

        await eventually(refused, 30)


FILES_OF_CERTIFICATES = ["tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"]


@pytest.mark.parametrize("option", FILES_OF_CERTIFICATES)
def test_a_file_that_is_missing_is_named_with_the_setting(option: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    for connect in (connect_mongo, connect_mongo_sync):
        with pytest.raises(SettingsError, match=f"MONGODB_URI.*{option}={missing}") as caught:
            connect(settings(f"tls=true&{option}={missing}", "mongodb://user:secret@h:1/"))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", ["datetime_conversion=never", "srvMaxHosts=1", "tlsInsecure=true&tlsCAFile="])
def test_what_the_driver_raises_for_an_option_is_an_error_of_the_setting(options: str) -> None:
    with pytest.raises(SettingsError, match="MONGODB_URI"):
        connect_mongo(settings(options))


async def test_a_redis_behind_a_socket_or_at_an_ipv6_address_is_found(tmp_path: Path) -> None:
    path = tmp_path / "redis socket"
    with RedisServer(tmp_path / "redis", options={"unixsocket": f'"{path}"', "bind": "127.0.0.1 ::1"}) as server:
        for host in (str(path), "::1", "[::1]"):
            settings = load(OutboxSettings, redis_host=host, redis_port=server.port)
            async with connect_redis(settings) as redis:
                assert await redis.ping(), host


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
@pytest.mark.parametrize("address", ["rediss://h/0", "rediss+sentinel://h/tasks/0", "rediss+cluster://h"])
def test_a_file_that_is_missing_is_named_with_the_setting_of_redis(address: str, option: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(SettingsError, match=f"REDIS_URL: {option}={missing}"):
        connect_redis(load(OutboxSettings, redis_url=f"{address}?{option}={missing}"))


async def test_a_name_that_cannot_be_looked_up_is_waited_for() -> None:
    nobody = load(OutboxSettings, mongodb_uri="mongodb+srv://nobody.example.invalid/")
    async with connect_mongo(nobody) as client:
        with pytest.raises(PyMongoError) as caught:
            await client.admin.command("ping")
    assert classify(caught.value) is Trouble.OUTAGE
    with connect_mongo_sync(nobody) as sync, pytest.raises(PyMongoError) as caught:
        sync.admin.command("ping")
    assert classify(caught.value) is Trouble.OUTAGE

"""The embedded servers are real ones: they keep their data through restarts and crashes, on the same port."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from redis.exceptions import ConnectionError as RedisGone

from outbox.embedded import Mongod, RedisServer, ReplicaSet
from tests.waiting import eventually_sync


def write(mongod: Mongod | ReplicaSet, value: int) -> None:
    with MongoClient[dict[str, Any]](mongod.uri, w="majority", serverSelectionTimeoutMS=20_000) as client:
        client.test.things.insert_one({"value": value})


def read(mongod: Mongod | ReplicaSet) -> list[int]:
    with MongoClient[dict[str, Any]](mongod.uri, serverSelectionTimeoutMS=20_000) as client:
        return [document["value"] for document in client.test.things.find().sort("value")]


@pytest.mark.usefixtures("mongodb_uri")  # it runs, whatever a test before has done to it
def test_mongod_has_transactions_and_change_streams(mongod: Mongod, database: str) -> None:
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        things = client[database].create_collection("things")
        with things.watch() as changes:
            with client.start_session() as session, session.start_transaction():
                things.insert_one({"value": 1}, session=session)
            assert next(changes)["fullDocument"]["value"] == 1


def test_mongod_keeps_data_and_port(tmp_path: Path) -> None:
    with Mongod(tmp_path) as mongod:
        port = mongod.port
        write(mongod, 1)
        mongod.stop()
        mongod.start()
        write(mongod, 2)
        mongod.kill()
        mongod.start()
        assert mongod.port == port
        assert read(mongod) == [1, 2]
        assert mongod.hello()["isWritablePrimary"]


def test_mongod_data_can_move_to_another_port(tmp_path: Path) -> None:
    with Mongod(tmp_path) as first:
        write(first, 1)
    with Mongod(tmp_path) as second:
        assert second.port != first.port
        assert read(second) == [1]
        write(second, 2)


@pytest.mark.usefixtures("mongodb_uri", "redis_url")
def test_start_is_repeatable(mongod: Mongod, redis_server: RedisServer) -> None:
    pids = mongod.pid, redis_server.pid
    mongod.start()
    redis_server.start()
    assert (mongod.pid, redis_server.pid) == pids


def test_redis_keeps_data_and_port(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options={"appendfsync": "always"}) as server:
        url = server.url
        with server.client() as client:
            client.xadd("stream", {"value": "1"}, id="1-1")
        server.stop()
        server.start()
        with server.client() as client:
            client.xadd("stream", {"value": "2"}, id="1-2")
        server.kill()
        with server.client() as client, pytest.raises(RedisGone):
            client.ping()
        server.start()
        assert server.url == url
        with server.client() as client:
            assert [entry for entry, _ in client.xrange("stream")] == ["1-1", "1-2"]


def test_redis_configuration(tmp_path: Path) -> None:
    folder = tmp_path / 'with space and "quote'
    with RedisServer(folder, options={"appendfsync": "always", "requirepass": "a-secret"}) as server:
        with server.client() as client:
            assert client.config_get("append*")["appendonly"] == "yes"
            assert client.config_get("appendfsync")["appendfsync"] == "always"
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert client.config_get("save")["save"] == ""


@pytest.mark.usefixtures("redis_url")
def test_redis_says_which_it_is(redis_server: RedisServer) -> None:
    name, version = redis_server.version.split()
    assert name in ("valkey", "redis")
    assert int(version.split(".")[0]) >= 7


def test_a_paused_redis_is_silent_and_keeps_its_connections(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, socket.create_connection((server.host, server.port), 30) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"
        server.pause()
        eventually_sync(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED)
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        server.resume()
        connection.settimeout(30)
        assert connection.recv(100) == b"+PONG\r\n"


@pytest.mark.slow
def test_a_replica_set_elects(tmp_path: Path) -> None:
    with ReplicaSet(tmp_path) as replicas:
        write(replicas, 1)
        first = replicas.primary()
        assert len(replicas.secondaries()) == 2

        first.kill()
        second = replicas.primary()
        assert second is not first
        write(replicas, 2)

        first.start()
        eventually_sync(lambda: len(replicas.secondaries()) == 2)
        second.pause()
        third = eventually_sync(lambda: replicas.primary() if replicas.primary() is not second else None)
        second.resume()
        write(replicas, 3)

        assert replicas.step_down() is not third
        assert read(replicas) == [1, 2, 3]
    assert not any(member.running for member in replicas.members)

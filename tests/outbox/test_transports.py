"""Connections that the other side has closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.servers.cluster import Cluster
from outbox.servers.topology import connect

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_command_on_a_closed_connection_is_an_error_of_the_connection(redis_url: str, run: Run) -> None:
    async def command() -> None:
        async with connect(redis_url, timeout_seconds=5) as redis:
            assert isinstance(redis, Redis)
            connection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            connection._writer.transport.abort()
            with pytest.raises(RedisConnectionError, match="was closed"):  # and not "while writing"
                await exchange(connection)
            await redis.connection_pool.release(connection)
            assert await redis.ping()

    run(command())


@pytest.mark.parametrize("when", ["connecting", "reading"])
async def test_one_that_another_task_has_closed_is_so_too(
    redis_url: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(redis_url, timeout_seconds=5) as redis:
        assert isinstance(redis, Redis)
        connection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        if when == "reading":
            await connection.send_command("PING")
            monkeypatch.setattr(connection._parser, "_stream", None)
            monkeypatch.setattr(connection._parser, "_reader", None)
            with pytest.raises(RedisConnectionError):
                await connection.read_response()
        else:
            await connection.disconnect()

            async def closed_at_once(**_: object) -> None:
                await connection.disconnect(nowait=True)

            monkeypatch.setattr(connection, "connect_check_health", closed_at_once)
            with pytest.raises(RedisConnectionError):
                await connection.send_command("PING")
        monkeypatch.undo()
        await redis.connection_pool.release(connection)
        assert await redis.ping()


async def exchange(connection: AbstractConnection) -> None:
    await connection.send_command("PING")
    await connection.read_response()


@pytest.mark.parametrize("tls", ["", "s"], ids=["plain", "tls"])
async def test_all_topologies_have_such_connections(tls: str) -> None:
    plain = connect(f"redis{tls}://127.0.0.1:1/0", timeout_seconds=1)
    watched = connect(f"redis{tls}+sentinel://127.0.0.1:1/tasks/0", timeout_seconds=1)
    cluster = connect(f"redis{tls}+cluster://127.0.0.1:1", timeout_seconds=1)
    assert isinstance(plain, Redis)
    assert isinstance(watched, Redis)
    assert isinstance(cluster, Cluster)
    sentinel = watched.connection_pool.sentinel_manager.sentinels[0]  # type: ignore[attr-defined]
    pools = [client.connection_pool.connection_class for client in (plain, watched, sentinel)]
    nodes = [cluster.startup_nodes[0].connection_class, cluster.nodes_manager.connection_kwargs["connection_class"]]
    for made in [*pools, *nodes]:
        assert made.send_packed_command is not AbstractConnection.send_packed_command
    for client in (plain, watched, cluster):
        await client.aclose()

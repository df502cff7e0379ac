"""A connection that the other side has closed is an error of the connection, on every event loop.

asyncio's own loop raises a ConnectionError when such a connection is written to. uvloop raises RuntimeError, which
redis-py lets pass, and which nobody takes for an outage: a relay would end. And the loop of asyncio in Python 3.12.1
and 3.13.0 goes on watching the closed socket by its number; the next connection gets that number, and is never made.
Therefore nothing is written to a transport that is closing.

So it is with one that another task has closed meanwhile, as a cluster's client does with all of a node when one of them
fails: redis-py then writes to a None, or reads from it.
"""

from __future__ import annotations

from asyncio import StreamWriter
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError


class _Closing:
    _writer: StreamWriter | None

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        if self._writer and self._writer.transport.is_closing():
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise RedisConnectionError("the connection was closed")
        try:
            await super().send_packed_command(*args, **options)  # type: ignore[misc]
        except (RuntimeError, AttributeError) as error:
            raise RedisConnectionError(f"the connection was closed: {error}") from error

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except (RuntimeError, AttributeError) as error:
            raise RedisConnectionError(f"the connection was closed: {error}") from error


def make_honest(client: Redis | RedisCluster) -> None:
    """Let all connections that `client` will open raise ConnectionError when they turn out to be closed."""
    if isinstance(client, Redis):
        client.connection_pool.connection_class = _honest(client.connection_pool.connection_class)
        return
    # Nodes that are found later are made from these, too.
    honest = _honest(client.connection_kwargs["connection_class"])
    client.connection_kwargs["connection_class"] = honest
    for node in client.startup_nodes:
        node.connection_class = honest


def _honest(connection: type[AbstractConnection]) -> Any:
    return type(connection.__name__, (_Closing, connection), {})

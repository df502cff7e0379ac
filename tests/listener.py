"""A port at which the tests themselves answer, and where nothing is left open when they end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Self

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Listener:
    """Has each connection served by `serve`, in a task of its own. When that ends, so does the connection.

    A client may connect at the very end: what is accepted but not served yet is closed like the rest. Left open, it is
    found by the collector in whichever test comes next, and that one fails.
    """

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server
        return int(self._server.sockets[0].getsockname()[1])

    async def disconnect(self) -> None:
        """Break all connections."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        await self.disconnect()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._server
        if not self._server.is_serving():
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            # Not in the task: one that is cancelled before its first step runs no line of its own.
            self._connections.discard(task)
            writer.close()

        task.add_done_callback(ended)

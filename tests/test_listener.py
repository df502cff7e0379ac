from __future__ import annotations

import asyncio
import gc
import socket
import sys
from typing import Any

import pytest

from tests.listener import Listener


@pytest.mark.parametrize("turns", range(8))
def test_a_client_that_connects_at_the_very_end_leaves_nothing_open(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each turn of the event loop between the connection and its being served."""
    left: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: left.append(unraisable.object))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        async with Listener(serve) as listener:
            client = socket.create_connection(("127.0.0.1", listener.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        client.close()

    asyncio.run(main())
    gc.collect()
    # At one of the turns the event loop itself leaves a transport, of which we never hear.
    assert asyncio.StreamWriter.__del__ not in left

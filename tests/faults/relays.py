"""Relays for scenarios: inside the test's own event loop, or as processes that can be killed and put to sleep."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from outbox.embedded.process import Process
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from outbox_relay.daemon import Relay
from outbox_relay.settings import RelaySettings
from tests.waiting import PATIENCE

SHORT = {"relay_lease_seconds": 2, "relay_verify_seconds": 0.5, "relay_poll_seconds": 0.5, "relay_stop_seconds": 5}
STOP_SECONDS = 15


@asynccontextmanager
async def in_this_process(
    outbox_settings: OutboxSettings, *, redis_patience: float | None = None, **settings: Any
) -> AsyncIterator[Relay]:
    """A whole relay, in this event loop. A defect that ends it is raised here.

    :param redis_patience: seconds until a command counts as lost; by default as in production.
    """
    patient = partial(connect_redis, timeout_seconds=redis_patience) if redis_patience else connect_redis
    with socket.create_server(("127.0.0.1", 0)) as listen, patch("outbox_relay.daemon.connect_redis", patient):
        daemon = Relay(load(RelaySettings, **{**SHORT, **settings}), outbox_settings, listen=listen)
        running = asyncio.create_task(daemon.run(), name="relay")
        try:
            yield daemon
        finally:
            daemon.stop()
            async with asyncio.timeout(STOP_SECONDS * PATIENCE):
                await running


class RelayProcess(Process):
    """`outbox relay`, or a variant of it under tests/faults that dies, sleeps or has a wrong clock."""

    def __init__(self, log: Path, environment: Mapping[str, str], *command: str, **settings: Any) -> None:
        chosen = {name.upper(): str(value) for name, value in {**SHORT, **settings}.items()}
        super().__init__(
            log.stem,
            [sys.executable, "-m", *(command or ("outbox", "relay")), "--port", "0"],
            log,
            env={**os.environ, **environment, **chosen, "OUTBOX_LOG_FORMAT": "json"},
        )

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged since its last start."""
        whole = (line for line in self.output().splitlines(keepends=True) if line.endswith("\n"))
        return [json.loads(line) for line in whole if line.startswith("{")]

    def told(self, event: str) -> bool:
        return any(event in line["event"] for line in self.lines())

    @property
    def held(self) -> int:
        """How many partitions it holds, by its latest word."""
        return next((int(line["held"]) for line in reversed(self.lines()) if "held" in line), 0)


@contextmanager
def as_a_process(log: Path, environment: Mapping[str, str], *command: str, **settings: Any) -> Iterator[RelayProcess]:
    process = RelayProcess(log, environment, *command, **settings)
    process.start()
    try:
        yield process
    finally:
        process.resume()
        process.kill()

"""Workers as the processes that operators run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from outbox.worker import Consumer
from tests.documents import ROOT
from tests.relay.processes import RelayProcess
from tests.waiting import PATIENCE, eventually_sync


class WorkerProcess(RelayProcess):
    """One `outbox worker` with one of the tests' handlers."""

    def __init__(self, log: Path, environment: Mapping[str, str], handler: str, *options: str) -> None:
        super().__init__(log, {**environment, "PYTHONPATH": str(ROOT)}, *options)
        self._handler = handler if ":" in handler else f"tests.worker.handlers:{handler}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "outbox", "worker", "--handler", self._handler, *self._options]

    def started(self) -> None:
        eventually_sync(lambda: self.told("worker started"), 20, what="the worker's start")


class LegacyProcess(RelayProcess):
    """The demonstration loop, with `count` entries at a time; `stuck`: it never comes to an end with the first."""

    def __init__(
        self, log: Path, environment: Mapping[str, str], name: str, *, count: int = 10, stuck: bool = False
    ) -> None:
        super().__init__(log, environment)
        hang = "; worker.parse = lambda _: time.sleep(3600)" if stuck else ""
        self._program = f"import time; from outbox_api.demonstration import worker; worker.COUNT = {count}{hang}"
        self._program += f"; from outbox_api.demonstration.__main__ import main; main({name!r})"

    def command(self) -> list[str]:
        return [sys.executable, "-c", self._program]


@asynccontextmanager
async def at_work(consumer: Consumer) -> AsyncIterator[Consumer]:
    """A consumer in this process; stopped at the end, and whatever it raised is raised."""
    work = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        consumer.stop()
        await asyncio.wait_for(work, 30 * PATIENCE)


@contextmanager
def running(*processes: RelayProcess) -> Iterator[None]:
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            process.kill()

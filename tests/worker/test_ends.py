"""How a worker process ends that nobody has asked to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.relay.processes import RelayProcess
from tests.relay.world import World
from tests.waiting import eventually
from tests.worker.processes import WorkerProcess, running
from tests.worker.test_killers import append, environment, rescue_seconds, settings, world

__all__ = ["environment", "rescue_seconds", "settings", "world"]


async def test_a_worker_that_a_task_of_its_handler_ends_says_so_and_fails(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    await append(world, "a")
    worker = WorkerProcess(tmp_path / "worker.log", environment, "exits_in_a_task")
    with running(RelayProcess(tmp_path / "relay.log", environment), worker):
        await eventually(worker.has_ended, 60)
        assert await asyncio.to_thread(worker.wait) == 1
    assert worker.told("worker ends")
    assert worker.told("SystemExit(0)")

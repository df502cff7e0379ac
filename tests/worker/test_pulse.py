"""Signs of life do not depend on what a handler does to its process, and end with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from outbox.database import Document
from outbox.worker import Message
from tests.processes import is_alive
from tests.relay.processes import RelayProcess
from tests.relay.world import World
from tests.waiting import eventually, pass_by
from tests.worker.processes import WorkerProcess, running
from tests.worker.test_killers import Supervised, append, environment, rescue_seconds, settings, settled, world
from tests.worker.workshop import Workshop

__all__ = ["environment", "rescue_seconds", "settings", "world"]


@pytest.mark.timeout(180)
async def test_a_handler_that_holds_the_interpreters_lock_is_worked_on_once(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    """It lets nothing else run for nearly twice as long as the silence after which a worker is taken for dead."""
    environment |= {"LOCK_SECONDS": "11"}
    ids = await append(world, "long")
    options = ("--silent-seconds", "6")
    workers = [WorkerProcess(tmp_path / f"worker-{n}.log", environment, "holds_the_lock", *options) for n in range(2)]
    with running(RelayProcess(tmp_path / "relay.log", environment), *workers):
        await eventually(lambda: _completed(world), 120)
    logs = [worker.text() for worker in workers]
    calls = [call["process"] async for call in world.database.calls.find()]
    assert len(calls) == 1, (calls, logs)
    file = await world.database.files.find_one({"_id": ids["long"]})
    assert file
    assert (file["parsing"], file["effects"]) == ("parsed", 1)


async def _completed(world: World) -> Document | None:
    return await world.database.outbox.find_one({"state": "completed"})


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_handler_that_never_gives_its_process_back_ends_it(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    await append(world, "a", "killer", "b", "c")
    options = ("--silent-seconds", "2", "--handler-seconds", "3")
    worker = WorkerProcess(tmp_path / "worker.log", environment, "blocks_its_loop", *options)
    supervised = Supervised(worker)
    with running(RelayProcess(tmp_path / "relay.log", environment), worker):
        await eventually(lambda: settled(world, supervised), 120, every=0.1)
    parsing = {file["filename"]: file["parsing"] async for file in world.database.files.find()}
    assert [parsing[name] for name in "abc"] == ["parsed"] * 3
    assert parsing["killer"].startswith("error: given up after 3 tries: its worker died")
    # On a busy machine, one that does nothing wrong may take as long as that, too, and so end one more.
    assert supervised.ended >= 3
    assert worker.told("has let nothing else run for")


@pytest.mark.parametrize("first", ["the worker", "its second process"])
async def test_a_worker_survives_that_its_host_stands_still_for_longer_than_a_handler_may_take(
    first: str, world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    """Whichever of its two processes runs again before the other."""
    await append(world, "a")
    options = ("--silent-seconds", "1", "--handler-seconds", "2")
    worker = WorkerProcess(tmp_path / "worker.log", environment, "killer", *options)
    with running(RelayProcess(tmp_path / "relay.log", environment), worker):
        await eventually(lambda: world.database.calls.find_one({}), 20)
        processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
        assert len(processes) == 2
        for process in processes:
            process.suspend()
        await pass_by(4)
        for process in processes if first == "the worker" else reversed(processes):
            process.resume()
            await pass_by(0.5)
        await eventually(lambda: _completed(world), 60)
        assert not worker.has_ended()
        assert not worker.told("has let nothing else run for")


async def test_the_second_process_ends_with_the_worker_and_is_replaced_when_it_dies(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    worker = WorkerProcess(tmp_path / "worker.log", environment, "effect", "--silent-seconds", "1")
    with running(worker):
        worker.started()

        def second() -> list[psutil.Process]:
            return psutil.Process(worker.pid).children()

        [first] = await eventually(second)
        first.terminate()  # it does not listen: a worker that stops needs it to the end
        first.kill()
        await eventually(lambda: [one for one in second() if one.pid != first.pid])
        [other] = second()
        os.kill(worker.pid, signal.SIGKILL)
        await eventually(lambda: not is_alive(other), 5)


async def test_without_a_second_process_the_work_goes_on(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(message: Message) -> None:
        await workshop.world.settle(message.key)

    monkeypatch.setattr("sys.executable", "/no/such/python")
    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("completed", id_))

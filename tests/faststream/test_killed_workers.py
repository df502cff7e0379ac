"""FastStream's workers and ours side by side in one group, killed at random: each effect is there exactly once.

With `every_feature`, ours have handlers chosen by a field, batches, snoozes and time limits, and the stream is paused
and resumed meanwhile. Of the messages, one in twenty is unique and appended twice.
"""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import pytest

from outbox.operations import pausing
from outbox.streams.declaration import FILE_STREAM
from tests.faststream.applications import ApplicationProcess
from tests.relay.processes import RelayProcess
from tests.relay.world import World
from tests.waiting import eventually
from tests.worker.processes import WorkerProcess, running
from tests.worker.test_processes import append_many, environment, rescue_seconds, settings, tries, world

__all__ = ["environment", "rescue_seconds", "settings", "tries", "world"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("tries", [20])  # each kill costs what is in flight a try, and chance may choose one often
@pytest.mark.parametrize(
    ("count", "handler", "kills"),
    [
        (100, "effect", 2),
        pytest.param(5000, "effect", 40, marks=pytest.mark.slow),
        pytest.param(5000, "every_feature", 40, marks=pytest.mark.slow),
    ],
)
async def test_faststreams_workers_and_ours_are_killed_and_each_effect_is_there_once(
    count: int, handler: str, kills: int, world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    database = world.database
    options = ("--silent-seconds", "2", "--concurrency", "5")
    workers: list[RelayProcess] = [
        WorkerProcess(tmp_path / "ours-0.log", environment, handler, *options),
        ApplicationProcess(tmp_path / "theirs-0.log", environment),
    ]
    if count > 1000:
        workers.append(WorkerProcess(tmp_path / "ours-1.log", environment, handler, *options))
        workers.append(ApplicationProcess(tmp_path / "theirs-1.log", environment))
    relay = RelayProcess(tmp_path / "relay.log", environment)
    dice, began = random.Random(count), time.monotonic()
    await append_many(world, count)
    with running(relay, *workers):

        async def reached(some: int) -> bool:
            return await database.outbox.count_documents({"state": "completed"}) >= some

        for kill in range(kills):
            await eventually(partial(reached, (kill + 1) * count // (kills + 2)), 120)
            victim = workers[kill % 2] if kills < 10 else dice.choice(workers)
            victim.started()  # of what is killed before it works, nothing can be learnt
            pause = handler == "every_feature" and kill % 2 and await pausing.pause(database, FILE_STREAM, who="anna")
            victim.kill()
            victim.start()
            if pause:
                await eventually(partial(relay.told, "stream paused"), 20)
                await pausing.resume(database, FILE_STREAM, who="anna")
        await eventually(partial(reached, count), 120)
    print(f"\n{count} messages, {kills} kills, {time.monotonic() - began:.0f} s")
    effects = [(effect["message"], effect.get("by")) async for effect in database.effects.find()]
    by_them = sum(1 for _, by in effects if by)
    print(f"{by_them} by FastStream's workers, {len(effects) - by_them} by ours")
    assert len(effects) == len({message for message, _ in effects}) == count
    assert await database.files.count_documents({"effects": 1, "parsing": "parsed"}) == count

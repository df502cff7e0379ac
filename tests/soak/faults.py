"""What happens to servers and programs during a soak. Each is mended when its function returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.soak.stage import Stage
from tests.waiting import pass_by

AWAY_SECONDS = 2


async def redis_is_killed(stage: Stage) -> None:
    stage.redis.kill()
    await pass_by(AWAY_SECONDS)
    await asyncio.to_thread(stage.redis.start)


async def redis_forgets_everything(stage: Stage) -> None:
    await _at_redis(stage, "FLUSHALL")


async def redis_closes_connections(stage: Stage) -> None:
    await _at_redis(stage, "CLIENT KILL TYPE NORMAL SKIPME YES")


async def redis_hangs(stage: Stage) -> None:
    stage.redis.pause()
    await pass_by(AWAY_SECONDS)
    stage.redis.resume()


async def mongodb_is_killed(stage: Stage) -> None:
    stage.mongod.kill()
    await pass_by(AWAY_SECONDS)
    await asyncio.to_thread(stage.mongod.start)


async def mongodb_steps_down(stage: Stage) -> None:
    def step_down() -> None:
        with stage.mongod.client() as client:
            client.admin.command("replSetStepDown", 1, secondaryCatchUpPeriodSecs=0, force=True)

    await asyncio.to_thread(step_down)


async def mongodb_hangs(stage: Stage) -> None:
    stage.mongod.pause()
    await pass_by(AWAY_SECONDS)
    stage.mongod.resume()


async def a_relay_is_killed(stage: Stage) -> None:
    stage.relays[1].kill()
    await pass_by(AWAY_SECONDS)
    stage.relays[1].start()


async def a_worker_is_killed(stage: Stage) -> None:
    stage.workers[1].kill()
    await pass_by(AWAY_SECONDS)
    stage.workers[1].start()


async def a_worker_is_stopped(stage: Stage) -> None:
    await asyncio.to_thread(stage.workers[1].stop, 40)
    stage.workers[1].start()


FAULTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    redis_is_killed,
    redis_forgets_everything,
    redis_closes_connections,
    redis_hangs,
    mongodb_is_killed,
    mongodb_steps_down,
    mongodb_hangs,
    a_relay_is_killed,
    a_worker_is_killed,
    a_worker_is_stopped,
)


async def _at_redis(stage: Stage, command: str) -> None:
    def do() -> None:
        with stage.redis.client() as client:
            client.execute_command(*command.split())

    await asyncio.to_thread(do)

"""What happens to Redis, and what it loses by it."""

from __future__ import annotations

import asyncio
import random
import shutil

from tests.faults import append_only_file
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.faults.history import Lost
from tests.faults.scenario import CHECKPOINTS, STREAM
from tests.waiting import pass_by

action = Actions()


@action(2)
async def flush_redis(world: World, dice: random.Random) -> str:
    async with world.losing():
        await world.lose("FLUSHALL")
    return ""


@action(2)
async def delete_the_stream(world: World, dice: random.Random) -> str:
    async with world.losing():
        await world.lose("DEL", STREAM)
    return ""


@action(2)
async def delete_checkpoints(world: World, dice: random.Random) -> str:
    chosen = dice.sample(CHECKPOINTS, dice.randint(1, len(CHECKPOINTS)))
    async with world.losing(), world.loss():
        await world.do("DEL", *chosen)
    return ", ".join(chosen)


@action(4)
async def kill_redis(world: World, dice: random.Random) -> str:
    """At work; it may have put off writing what it has answered."""
    async with world.losing():
        await asyncio.to_thread(world.redis.kill)
        world.to_redis.cut()
        await asyncio.to_thread(world.redis.start)
        world.history.add(Lost(await world.survivors()))
        world.to_redis.heal()
    return ""


@action(3)
async def cut_the_append_only_file(world: World, dice: random.Random) -> str:
    count = dice.choice([1, 20, 500, dice.randrange(1, 20_000)])
    async with world.losing(), world.loss():
        await asyncio.to_thread(append_only_file.cut, world.redis, count)
    return f"by {count} bytes"


@action(3, fault=False)
async def keep_a_copy_of_redis(world: World, dice: random.Random) -> str:
    world.older = world.folder / "older"
    shutil.rmtree(world.older, ignore_errors=True)
    shutil.copytree(append_only_file.folder(world.redis), world.older)
    return ""


@action(3)
async def restore_the_copy(world: World, dice: random.Random) -> str | None:
    if world.older is None:
        return None
    async with world.losing(), world.loss():
        await asyncio.to_thread(append_only_file.restore, world.redis, world.older)
    return ""


@action(3)
async def halt_redis(world: World, dice: random.Random) -> str:
    seconds = dice.uniform(0.1, 1.5)
    world.redis.pause()
    await pass_by(seconds)
    world.redis.resume()
    return f"for {seconds:.1f} s"


@action(2)
async def fill_redis(world: World, dice: random.Random) -> str:
    await world.do("CONFIG", "SET", "maxmemory", 1)
    await pass_by(dice.uniform(0.1, 1.5))
    await world.do("CONFIG", "SET", "maxmemory", 0)
    return ""

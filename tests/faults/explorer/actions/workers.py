"""What happens to workers, and what they do wrong."""

from __future__ import annotations

import asyncio
import random

from outbox.embedded.process import Process
from tests.faults.explorer.actions.action import Actions, goes_on
from tests.faults.explorer.handlers import ENDS
from tests.faults.explorer.plain import MANNERS
from tests.faults.explorer.world import World

action = Actions()


@action(5)
async def kill_a_worker(world: World, dice: random.Random) -> str | None:
    worker = dice.choice(world.work.workers)
    if worker in world.work.down:
        return None
    world.work.down.add(worker)
    world.work.asleep.discard(worker)
    worker.kill()
    return worker.name


@action(2)
async def stop_a_worker(world: World, dice: random.Random) -> str | None:
    worker = dice.choice(world.work.workers)
    if worker in world.work.down | world.work.asleep:
        return None
    world.work.down.add(worker)
    code = await asyncio.to_thread(worker.stop, 20)
    return f"{worker.name}, which ends with {code}"


@action(10, fault=False)
async def start_a_worker(world: World, dice: random.Random) -> str | None:
    return goes_on(world.work.workers, world.work.down, Process.start)


@action(3)
async def put_a_worker_to_sleep(world: World, dice: random.Random) -> str | None:
    worker = dice.choice(world.work.workers)
    if worker in world.work.down | world.work.asleep:
        return None
    worker.pause()
    world.work.asleep.add(worker)
    return worker.name


@action(6, fault=False)
async def wake_a_worker(world: World, dice: random.Random) -> str | None:
    return goes_on(world.work.workers, world.work.asleep, Process.resume)


@action(6)
async def spoil_a_plain_worker(world: World, dice: random.Random) -> str:
    """In another way than before, until everything comes to rest, or chance says otherwise."""
    worker = dice.choice(world.work.plain_workers)
    worker.manner = dice.choice(MANNERS)
    return f"{worker.name}: {worker.manner}"


@action(3, fault=False)
async def work_in_a_burst(world: World, dice: random.Random) -> str:
    count, stream = dice.choice([5, 40]), dice.choice(world.work.usual)
    for _ in range(count):
        await world.work.append(world, stream)
    return f"{count} messages for {stream.name}"


@action(2)
async def append_what_ends_its_process(world: World, dice: random.Random) -> str:
    """Each time, until it is dead; and it takes nobody with it."""
    [mood] = dice.choices(list(ENDS), list(ENDS.values()))
    message = await world.work.append(world, world.work.risky, mood)
    return f"{message}, which {mood}"


@action(2)
async def delete_a_stream_of_work(world: World, dice: random.Random) -> str:
    stream = dice.choice(world.work.streams)
    async with world.losing():
        await world.do("DEL", stream.key)
    return stream.name

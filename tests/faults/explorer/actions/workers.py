"""What happens to workers, and what they do wrong."""

from __future__ import annotations

import asyncio
import random

from bson import ObjectId

from outbox.database import OUTBOX
from outbox.message.document import State
from outbox.operations import replay as replays
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.plain import MANNERS
from tests.faults.explorer.world import World
from tests.faults.history import Replayed

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
    worker = next((worker for worker in world.work.workers if worker in world.work.down), None)
    if worker is None:
        return None
    worker.start()
    world.work.down.discard(worker)
    return worker.name


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
    worker = next((worker for worker in world.work.workers if worker in world.work.asleep), None)
    if worker is None:
        return None
    worker.resume()
    world.work.asleep.discard(worker)
    return worker.name


@action(6)
async def spoil_a_plain_worker(world: World, dice: random.Random) -> str:
    """Until everything comes to rest, or chance says otherwise."""
    worker = dice.choice(world.work.plain_workers)
    worker.manner = dice.choice(MANNERS)
    return f"{worker.name}: {worker.manner}"


@action(3, fault=False)
async def work_in_a_burst(world: World, dice: random.Random) -> str:
    count, stream = dice.choice([5, 40]), dice.choice(world.work.streams)
    for _ in range(count):
        await world.work.append(world, stream)
    return f"{count} messages for {stream.name}"


@action(2)
async def delete_a_stream_of_work(world: World, dice: random.Random) -> str:
    stream = dice.choice(world.work.streams)
    async with world.losing():
        await world.do("DEL", stream.key)
    return stream.name


@action(2, fault=False)
async def replay_work(world: World, dice: random.Random) -> str | None:
    """What workers of ours have completed is to be done once more."""
    if not world.recovered:
        return None
    stream = world.work.ours
    done = {"stream": stream.name, "state": State.COMPLETED.value}
    ids: list[ObjectId] = [found["_id"] async for found in world.database[OUTBOX].find(done, {"_id": 1})]
    chosen = dice.sample(ids, min(len(ids), dice.choice([1, 5])))
    for message in chosen:
        selection = replays.Selection(ids=(message,), states=(State.COMPLETED,))
        put_back = await replays.replay(world.database, selection)
        world.work.histories[stream.name].add(*[Replayed(str(message), completed=True)] * put_back.replayed)
    return f"{len(chosen)} messages" if chosen else None

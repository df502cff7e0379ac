"""What is to be seen where nothing else happens: first everything comes to rest, and it goes on after that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from bson import ObjectId

from outbox.database import OUTBOX
from outbox.message.document import State
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.waiting import eventually

action = Actions()

TRIES = 3
"""On a machine that stands still for seconds, one alone would say nothing."""
DONE_SECONDS = 60


@action(1)
async def hold_a_process(world: World, dice: random.Random) -> str:
    """A handler lets nothing else run in its process, for longer than a worker may be silent: it is not taken for dead,
    and nobody does the same work beside it."""
    await world.comes_to_rest()
    for _ in range(TRIES):
        message = await world.work.append(world, world.work.ours, "holds its process")
        await eventually(partial(_done, world, [message]), DONE_SECONDS, what="a handler that holds its process ends")
        calls = await world.database.application.calls.count_documents({"message": ObjectId(message)})
        if calls <= 1:
            break
    else:
        raise AssertionError(f"surface: {message} was worked on {calls} times, and its worker was alive")
    world.goes_on()
    return f"with {message}"


@action(1)
async def put_a_key_in_the_place_of_a_stream(world: World, dice: random.Random) -> str | None:
    """Of another type, for a while. Everybody's work in the other streams goes on."""
    await world.comes_to_rest()
    stream = dice.choice(world.work.streams)
    aside = f"{{{stream.key}}} aside"
    async with world.at_redis() as client:
        redis: Any = client
        if not await redis.exists(stream.key):
            world.goes_on()
            return None
        await redis.pipeline(transaction=True).rename(stream.key, aside).set(stream.key, "somebody's").execute()
        try:
            others = [one for one in world.work.streams if one is not stream]
            messages = [
                await world.work.append(world, one, "gives up" if one is world.work.risky else "fine")
                for one in others * 3
            ]
            await eventually(
                partial(_done, world, messages), DONE_SECONDS, what=f"without {stream.name}, the work of the others"
            )
        finally:
            await redis.pipeline(transaction=True).delete(stream.key).rename(aside, stream.key).execute()
    world.goes_on()
    return stream.name


async def _done(world: World, messages: Sequence[str]) -> bool:
    """Those that could be appended: a clock may just have made MongoDB elect another primary."""
    ids = [ObjectId(message) for message in messages if message]
    ended = {"_id": {"$in": ids}, "state": {"$in": [State.COMPLETED.value, State.DEAD.value]}}
    return await world.database[OUTBOX].count_documents(ended) == len(ids)

"""What operators do while everything is at work."""

from __future__ import annotations

import asyncio
import random
import subprocess
from typing import Any

from bson import ObjectId

from outbox.database import OUTBOX
from outbox.message.document import State
from outbox.operations import dead, pausing
from outbox.operations import replay as replays
from outbox.streams.declaration import Streams
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.faults.history import Replayed

action = Actions()

WHO = "an operator"
VERIFY_SECONDS = 240
"""On a machine that does much else."""
VERIFIED = {0: "finds nothing, or has repaired it", 1: "finds something", 3: "reaches no server"}


@action(3, fault=False)
async def replay_work(world: World, dice: random.Random) -> str | None:
    """What workers of ours have completed is to be done once more: some messages, or a range of them."""
    if not world.recovered:
        return None
    stream = world.work.ours
    messages = world.database[OUTBOX]
    completed = {"stream": stream.name, "state": State.COMPLETED.value}
    there = await messages.find(completed, {"created_at": 1}).sort("created_at").to_list()
    if not there:
        return None
    first = dice.randrange(len(there))
    last = min(len(there) - 1, first + dice.choice([0, 5, 50]))
    if dice.random() < 0.5:
        chosen: dict[str, Any] = {"ids": tuple(one["_id"] for one in there[first : last + 1])}
    else:
        chosen = {"since": there[first]["created_at"]}
        if there[last]["created_at"] > there[first]["created_at"]:
            chosen["until"] = there[last]["created_at"]
    selection = replays.Selection(stream=stream.name, states=(State.COMPLETED,), **chosen)
    # Also of those that were replayed before and are not completed again yet.
    replayed = {"stream": stream.name, "replayed": {"$gt": 0}}
    before: dict[ObjectId, int] = {
        one["_id"]: one["replayed"] async for one in messages.find(replayed, {"replayed": 1})
    }
    done = await replays.replay(world.database, selection)
    now = await messages.find(replayed, {"replayed": 1}).to_list()
    again = [str(one["_id"]) for one in now if one["replayed"] > before.get(one["_id"], 0)]
    if len(again) != done.replayed:
        raise AssertionError(f"{len(again)} messages were replayed, and {done.replayed} are reported")
    world.work.histories[stream.name].add(*(Replayed(message, completed=True) for message in again))
    return f"{len(again)} messages by {', '.join(chosen)}"


@action(2, fault=False)
async def retry_dead_work(world: World, dice: random.Random) -> str | None:
    """Their handler gives up again."""
    streams = Streams(world.work.streams)
    ids = [one async for one in dead.ids(world.database, stream=world.work.ours.name)]
    for message in ids:
        await dead.retry(world.database, streams, message, who=WHO)
    return f"{len(ids)} messages" if ids else None


@action(3)
async def pause_a_stream(world: World, dice: random.Random) -> str | None:
    stream = dice.choice(world.work.streams)
    return stream.name if await pausing.pause(world.database, stream.name, who=WHO) else None


@action(6, fault=False)
async def resume_a_stream(world: World, dice: random.Random) -> str | None:
    stream = dice.choice(world.work.streams)
    return stream.name if await pausing.resume(world.database, stream.name, who=WHO) else None


@action(3, fault=False)
async def verify_and_repair(world: World, dice: random.Random) -> str:
    """Beside everything else, which a repair must not make worse."""
    command = ["outbox", "verify", "--repair", "--json", "--grace", dice.choice(["1s", "30s"])]
    process = world.process(f"verify-{world.name('run')}", command, straight=True)
    process.start()
    try:
        code = await asyncio.to_thread(process.wait, VERIFY_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"outbox verify --repair has not ended: {process.output(last_lines=30)}") from error
    if code not in VERIFIED:
        raise AssertionError(f"outbox verify --repair has ended with {code}: {process.output(last_lines=30)}")
    return VERIFIED[code]

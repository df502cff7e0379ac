"""What others do to consumer groups of ours, and with groups of their own at streams of ours."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from redis.exceptions import ResponseError

from outbox.streams.declaration import Stream
from outbox.streams.entry_ids import EntryId
from outbox.streams.keys import record_key
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.actions.others import DROP
from tests.faults.explorer.world import World
from tests.faults.history import Skipped
from tests.waiting import eventually

action = Actions()

SECONDS = 3


@action(4)
async def remove_a_consumer_that_is_gone(world: World, dice: random.Random) -> str | None:
    """One of others, with what it has taken and forgotten: nobody has finished that. It never reads again. Not what it
    was given since the last look, of which no relay can know."""
    stream = dice.choice(world.work.streams)
    async with world.at_redis() as client:
        redis: Any = client
        try:
            consumers = await redis.xinfo_consumers(stream.key, stream.group)
        except ResponseError:
            return None  # there is no such group yet, or any more
        names = [one["name"].encode(errors="surrogateescape") for one in consumers if one["pending"]]
        for name in names:
            # As they call themselves in actions/others.py.
            if len(name) == 4 and name.endswith(b"\xff"):
                held = await redis.eval(DROP, 2, stream.key, record_key(stream.key), stream.group, name)
                if held:
                    return f"{name!r} of {stream.name}, which held {len(held)}"
    return None


@action(3)
async def reset_the_statistics(world: World, dice: random.Random) -> str:
    """As whoever watches a Redis may do. Relays count by them what the server was asked to do."""
    await world.do("CONFIG", "RESETSTAT")
    return ""


@action(5, fault=False)
async def listen(world: World, dice: random.Random) -> str | None:
    """Another program, with a group of its own at the plain workers' stream, is given some entries."""
    read = await world.work.listener.read(world.do, dice.choice([1, 20, 500]))
    return None if read is None else f"to {read} entries"


@action(4, fault=False)
async def acknowledge_what_was_listened_to(world: World, dice: random.Random) -> str | None:
    """Some of it."""
    done = await world.work.listener.acknowledge(world.do, dice)
    return f"{done} entries" if done else None


@action(4)
async def set_the_listeners_back(world: World, dice: random.Random) -> str | None:
    """They want to be given again what is there, or some of it, whatever they still hold."""
    due = await world.work.listener.set_back(world.do, dice.choice([0, dice.random()]))
    return None if due is None else f"by {due} entries"


@action(4)
async def read_without_acknowledging(world: World, dice: random.Random) -> str | None:
    """While all workers stand still, somebody reads on as one of them, with NOACK. Nobody has done what was read.

    A relay knows by the silence: that the server has acknowledged nothing at all between two looks. Where it has, these
    messages may count as done.
    """
    stream = world.work.plain
    if not world.work.plain_workers or world.work.unread:
        return None
    async with world.work.nobody_works(), world.at_redis() as client:
        redis: Any = client

        async def looked(since: str) -> bool:
            """A relay has looked since the last acknowledgement, and at the entry `since`."""
            acks, seen = await _look(redis, stream)
            return acks == await _acknowledgements(redis) and EntryId.parse(seen) >= EntryId.parse(since)

        try:
            await eventually(lambda: looked("0-0"), SECONDS, 0.1)
        except AssertionError:
            return None  # no relay looks, or others acknowledge all the time
        before = await _acknowledgements(redis)
        try:
            taken = await redis.xreadgroup(
                stream.group, "by hand", {stream.key: ">"}, count=dice.choice([1, 20]), noack=True
            )
        except ResponseError:  # there is no such stream any more
            return None
        if not taken:
            return None
        entries = taken[0][1]
        try:
            await eventually(lambda: looked(entries[-1][0]), SECONDS, 0.1)
            silent = await _acknowledgements(redis) == before
        except AssertionError:
            silent = False
    if not silent:
        messages = [fields.get("message_id") for _, fields in entries]
        world.work.histories[stream.name].add(*(Skipped(message) for message in messages if message))
    return f"{len(entries)} of {stream.name}" + ("" if silent else ", which no relay can have seen")


async def _look(redis: Any, stream: Stream) -> tuple[int, str]:
    """How many acknowledgements the server had counted at the latest look that was carried out, and up to which entry
    it was."""
    text = await redis.hget(record_key(stream.key), "look")
    look = json.loads(text) if text else {"acks": "calls=-1", "seen": "0-0"}
    return sum(map(int, re.findall(r"calls=(-?\d+)", look["acks"]))), look["seen"]


async def _acknowledgements(redis: Any) -> int:
    counted = await redis.info("commandstats")
    return sum(counted.get(f"cmdstat_{command}", {"calls": 0})["calls"] for command in ("xack", "xackdel"))

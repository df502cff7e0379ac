"""What others do on the same servers: entries that they add, and entries that they trim where they may."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from outbox.streams.keys import record_key
from tests.faults.explorer import payloads
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.groups import FORGETFUL
from tests.faults.explorer.world import World
from tests.faults.history import Adopted
from tests.faults.scenario import STREAM
from tests.waiting import eventually

action = Actions()


@action(6, fault=False)
async def order_at_the_neighbours(world: World, dice: random.Random) -> str | None:
    if world.neighbour is None:
        return None
    count = dice.choice([1, 5, 40])
    await world.neighbour.order(count)
    return f"{count} orders"


@action(3, fault=False)
async def add_entries_by_hand(world: World, dice: random.Random) -> str:
    """As programs did before there was an outbox. A worker of ours makes a message of each, and a relay of what a plain
    worker holds for too long."""
    histories = {stream.key: world.work.histories[stream.name] for stream in world.work.usual}
    stream, count = dice.choice([*histories, STREAM]), dice.choice([1, 5])
    for _ in range(count):
        name = world.name("foreign")
        fields = {"foreign": name, "text": payloads.text(dice, 20).replace("\0", "")}
        if history := histories.get(stream):
            history.add(Adopted(name, payloads.contents(fields)))
        await world.do("XADD", stream, "*", *(part for pair in fields.items() for part in pair))
    return f"{count} to {stream}"


@action(6)
async def add_entries_that_nobody_can_read(world: World, dice: random.Random) -> str:
    """Bytes that are no text: no message can be made of them, nobody may stumble over them, or take them away."""
    stream = dice.choice(world.work.streams)
    async with world.at_redis() as redis:
        await world.work.adders.add(redis, stream.key, dice, lasting=world.topology is None)
    return f"to {stream.name}"


@action(4)
async def take_entries_and_forget_them(world: World, dice: random.Random) -> str | None:
    """A consumer of others, whose name is bytes, in the workers' group or one of its own; it never comes back."""
    stream, name = dice.choice(world.work.streams), dice.randbytes(3) + b"\xff"
    group = dice.choice([stream.group.encode(), FORGETFUL])
    if stream is world.work.plain and world.work.unread:
        return None
    async with world.at_redis() as client:
        redis: Any = client
        with suppress(ResponseError):
            await redis.xgroup_create(stream.key, group, "0", mkstream=False)
        try:
            taken = await redis.xreadgroup(group, name, {stream.key: ">"}, count=dice.choice([1, 3]))
        except ResponseError:  # there is no such stream yet, or any more
            return f"of {stream.name}, which is not there"
    return f"{len(taken[0][1]) if taken else 0} of {stream.name} as {name!r} of {group!r}"


DROP = """
local looked_at = {}
for _, text in ipairs(redis.call('HMGET', KEYS[2], 'look', 'looked')) do
  for _, one in ipairs(text and cjson.decode(text).held or {}) do
    looked_at[one[1]] = one[2]
  end
end
local ids = {}
for _, one in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])) do
  if looked_at[one[1]] ~= ARGV[2] then return nil end
  ids[#ids + 1] = one[1]
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return ids
"""
_REMOVALS = """
local counts = {}
for _, text in ipairs(redis.call('HMGET', KEYS[1], 'look', 'looked')) do
  local look = text and cjson.decode(text) or {}
  counts[#counts + 1] = (look.latest or look).removals or ''
end
return table.concat(counts, ' ')
"""


@action(3)
async def drop_a_consumer(world: World, dice: random.Random) -> str | None:
    """With what it holds, which nobody has finished. No relay can see, as docs/streams.md says, what it was given since
    the last look, and a removal that Redis forgets by a restart before the next one: so that is not done."""
    if not world.work.plain_workers:
        return None
    worker, stream = dice.choice(world.work.plain_workers), world.work.plain
    record = record_key(stream.key)
    async with world.at_redis() as client:
        redis: Any = client
        try:
            before = await redis.eval(_REMOVALS, 1, record)
            held = await redis.eval(DROP, 2, stream.key, record, stream.group, worker.consumer)
        except ResponseError:
            return None  # there is no such group yet, or any more
        if not held:
            return None

        async def seen() -> bool:
            return bool(await redis.eval(_REMOVALS, 1, record) != before)

        try:
            await eventually(seen, 5, what="a relay looks")
        except AssertionError:
            # It cannot: its servers are away.
            with suppress(ResponseError):
                await redis.xclaim(stream.key, stream.group, worker.consumer, 0, held, force=True, justid=True)
            # A file that was cut in between would have the removal without what was given back.
            await world.written()
            await world.do("BGREWRITEAOF")
            await world.written()
            return f"{worker.name}, which was given back the {len(held)} that it held"
    return f"{worker.name}, which held {len(held)}"


_TRIM = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local bound
for _, raw in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for n = 1, #raw, 2 do group[raw[n]] = raw[n + 1] end
  if group['name'] == ARGV[1] then
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
    bound = pending[2] or group['last-delivered-id']
  end
end
return bound and redis.call('XTRIM', KEYS[1], 'MINID', bound) or 0
"""


@action(2, fault=False)
async def trim_what_is_done(world: World, dice: random.Random) -> str | None:
    """Of the stream of our workers, which acknowledge what is done: up to the first entry that somebody holds."""
    stream = world.work.ours
    world.work.adders.forget(stream.key)
    removed = await world.do("EVAL", _TRIM, 1, stream.key, stream.group)
    return f"{removed} entries of {stream.name}" if removed else None

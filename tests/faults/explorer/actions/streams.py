"""What others do to whole streams of ours: entries that they delete, and streams that they fill anew."""

from __future__ import annotations

import random
from typing import Any

from bson import ObjectId
from redis.exceptions import ResponseError

from outbox.database import LENIENT, OUTBOX
from outbox.streams.entry_ids import EntryId
from tests.faults.explorer import payloads
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.faults.history import Adopted
from tests.faults.scenario import STREAM
from tests.waiting import eventually

action = Actions()

MOST_ENTRIES = {True: 300, False: 3000}
"""That others fill a stream with, by whether somebody works on each."""
SECONDS = 3

_FILL = """
redis.call('DEL', KEYS[1])
for _, name in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'foreign', name) end
"""


@action(4)
async def fill_a_stream_anew(world: World, dice: random.Random) -> str | None:
    """It is deleted, and has others' entries at once: a few, or more than it ever had, if those are not too many."""
    histories = {stream.key: world.work.histories[stream.name] for stream in world.work.streams}
    # Of a Redis that is more than one server, the stream that nobody reads loses nothing.
    stream = dice.choice([*histories, *([] if world.topology else [STREAM])])
    async with world.at_redis() as redis:
        try:
            added = (await redis.xinfo_stream(stream))["entries-added"]
        except ResponseError:  # it is not there yet, or any more
            return None
    count = added + dice.randint(1, 50) if dice.random() < 0.8 else dice.choice([1, 5])
    if count > MOST_ENTRIES[stream in histories]:
        return None
    name = world.name("fill")
    names = [f"{name}-{number}" for number in range(count)]
    async with world.losing():
        if history := histories.get(stream):
            history.add(*(Adopted(each, payloads.contents({"foreign": each})) for each in names))
            await world.do("EVAL", _FILL, 1, stream, *names)
        else:
            await world.lose("EVAL", _FILL, "1", stream, *names)
    return f"{stream}, which had {added} entries, with {count}"


@action(4)
async def plain_workers_leave(world: World, dice: random.Random) -> str | None:
    """All of them, as when they are deployed; entries wait for them."""
    if all(plain.away for plain in world.work.plain_workers):
        return None
    await world.work.plain_workers_leave()
    return ""


@action(6, fault=False)
async def plain_workers_return(world: World, dice: random.Random) -> str | None:
    """Not before a relay has seen what others have removed meanwhile."""
    if not any(plain.away for plain in world.work.plain_workers):
        return None
    try:
        await eventually(lambda: world.work.unread.seen(world), SECONDS, what="a relay has looked")
    except AssertionError:
        return None
    for plain in world.work.plain_workers:
        plain.away = False
    return ""


@action(6)
async def remove_entries_that_nobody_was_given(world: World, dice: random.Random) -> str | None:
    """Others trim what waits for the plain workers, or delete some of it: these messages come again.

    Only of messages that are marked: what is removed before that, no relay has looked for yet.
    """
    stream = world.work.plain
    if not world.work.plain_workers or any(not plain.away for plain in world.work.plain_workers):
        return None
    async with world.at_redis() as client:
        redis: Any = client
        try:
            groups = await redis.xinfo_groups(stream.key)
        except ResponseError:  # it is not there yet, or any more
            return None
        delivered = [group["last-delivered-id"] for group in groups if group["name"] == stream.group]
        waiting = await redis.xrange(stream.key, f"({delivered[0]}", "+", count=100) if delivered else []
        first = await redis.xrange(stream.key, "-", "+", count=1)
    sent = {id_: _message(fields) for id_, fields in waiting}
    marked = await _marked(world, [message for message, _ in filter(None, sent.values())])
    ours = [id_ for id_, message in sent.items() if message and marked.get(message[0]) == message[1]]
    chosen = ours[: dice.choice([1, 5, 100])]
    trimmed = waiting[:1] == first and dice.random() < 0.5
    gone: list[str] = []
    if trimmed:
        # Up to the first one that is not marked, and whatever others have added before that.
        ids = list(sent)
        gone = ids[: next((n for n, id_ in enumerate(ids) if id_ not in chosen and sent[id_]), len(ids))]
        chosen = [id_ for id_ in gone if id_ in chosen]
    else:
        chosen = [id_ for id_ in chosen if dice.random() < 0.7]
    if not chosen:
        return None
    for id_ in chosen:
        message, attempt = sent[id_] or (ObjectId(), 0)
        world.work.unread.add(message, id_, attempt)
    world.work.listener.removed(gone or chosen)
    if trimmed:
        world.work.adders.forget(stream.key)
        await world.do("XTRIM", stream.key, "MINID", f"{EntryId.parse(gone[-1]).next()}")
    else:
        await world.do("XDEL", stream.key, *chosen)
    return f"{len(chosen)} of {len(waiting)} of {stream.name}, {'trimmed' if trimmed else 'deleted'}"


def _message(fields: dict[str, str]) -> tuple[ObjectId, int] | None:
    message, attempt = fields.get("message_id", ""), fields.get("attempt", "")
    return (ObjectId(message), int(attempt)) if ObjectId.is_valid(message) and attempt.isdecimal() else None


async def _marked(world: World, messages: list[ObjectId]) -> dict[ObjectId, int]:
    """Those that count as published, with their attempts."""
    outbox = world.database[OUTBOX].with_options(codec_options=LENIENT)
    query = {"_id": {"$in": messages}, "state": "published"}
    return {message["_id"]: message["attempts"] async for message in outbox.find(query, {"attempts": 1})}

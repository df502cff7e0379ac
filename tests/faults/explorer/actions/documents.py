"""What others do to the documents of messages, around the library."""

from __future__ import annotations

import random
from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from outbox.database import OUTBOX
from outbox.message.document import State
from outbox.streams.declaration import FILES
from tests.adverse import broken
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.actions.people import whole
from tests.faults.explorer.world import World
from tests.faults.history import Appended, Deleted, Spoilt

action = Actions()

NO_TIME_OF_PYTHONS = DatetimeMS(10**15)
_PUBLISHED: dict[str, Any] = {"state": State.PUBLISHED.value}


@action(2)
async def write_a_message_from_the_far_future(world: World, dice: random.Random) -> str:
    """Its validator takes the time, so it is a message as any other; and Python has no such time."""
    key = world.name("far")
    document = {**whole(key), "created_at": NO_TIME_OF_PYTHONS}
    await world.database.files.insert_one({"_id": key, "parsing": "queued"})
    await world.database[OUTBOX].insert_one(document)
    world.history.add(Appended(str(document["_id"]), key))
    return f"to {FILES.name}"


@action(4)
async def write_notes_into_messages(world: World, dice: random.Random) -> str | None:
    """Into those that workers have in hand, or wait for: a time that Python does not have, or a text that is none."""
    stream, text = dice.choice(world.work.streams), dice.random() < 0.5
    note: Any = broken({"$set": {"note": "QQQQ"}}) if text else {"$set": {"note": NO_TIME_OF_PYTHONS}}
    noted = 0
    for message in await _some(world, stream.name, dice):
        done = await world.database[OUTBOX].update_one({"_id": message, **_PUBLISHED}, note)
        if text and done.modified_count:
            world.work.histories[stream.name].add(Spoilt(str(message)))
        noted += done.modified_count
    return f"{'a text' if text else 'a time'} into {noted} of {stream.name}" if noted else None


@action(3)
async def delete_messages(world: World, dice: random.Random) -> str | None:
    """While their entries are in the stream, or in somebody's hands: by hand, or with a backup that was restored."""
    stream, deleted = dice.choice(world.work.streams), 0
    for message in await _some(world, stream.name, dice):
        done = await world.database[OUTBOX].delete_one({"_id": message, **_PUBLISHED})
        if done.deleted_count:
            world.work.histories[stream.name].add(Deleted(str(message)))
        deleted += done.deleted_count
    return f"{deleted} of {stream.name}" if deleted else None


async def _some(world: World, stream: str, dice: random.Random) -> list[ObjectId]:
    """Published messages that nobody has completed yet; not those that were entries of others, which nobody knows."""
    there = {"stream": stream, **_PUBLISHED, "fields.foreign": {"$exists": False}}
    found = [one["_id"] async for one in world.database[OUTBOX].find(there, {"_id": 1})]
    return dice.sample(found, min(len(found), dice.choice([1, 5])))

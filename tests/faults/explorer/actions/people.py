"""What clients, workers and operators do."""

from __future__ import annotations

import random
from typing import Any

from bson import ObjectId
from bson.timestamp import Timestamp

from outbox.database import OUTBOX
from outbox.operations import dead
from outbox.streams.declaration import FILES, Streams
from tests.adverse import broken
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.faults.history import Poisoned, Retried, RolledBack
from tests.faults.scenario import STREAM

action = Actions()


@action(6, fault=False)
async def append(world: World, dice: random.Random) -> str:
    """A burst, beside what is appended all the time."""
    count = dice.choice([1, 5, 40])
    await world.append(*(f"burst-{n % 5}" for n in range(count)))
    return f"{count} messages"


@action(2, fault=False)
async def abort(world: World, dice: random.Random) -> str:
    """A transaction that takes its message back."""
    async with world.client.start_session() as session:
        await session.start_transaction()
        message = await world.write_message(session, world.name("aborted"))
        await session.abort_transaction()
    world.history.add(RolledBack(str(message)))
    return str(message)


@action(3, fault=False)
async def schedule(world: World, dice: random.Random) -> str:
    seconds = dice.uniform(0.2, 3)
    await world.append_for(world.name("scheduled"), seconds)
    return f"in {seconds:.1f} s"


@action(3, fault=False)
async def replay(world: World, dice: random.Random) -> str | None:
    published = (
        await world.database[OUTBOX]
        .find({"stream": STREAM, "state": "published", "key": {"$nin": world.retired}}, {"_id": 1})
        .to_list()
    )
    if not published or not world.recovered:
        return None
    chosen = [str(m["_id"]) for m in dice.sample(published, min(len(published), dice.choice([1, 5])))]
    await world.replay(*chosen)
    return f"{len(chosen)} messages"


@action(3, fault=False)
async def settle(world: World, dice: random.Random) -> str | None:
    """A worker deals with all that there is of a key, and nothing is appended for that any more."""
    if not world.recovered:
        return None
    key = await world.retire(dice.randrange(len(world.keys)))
    if key in world.in_doubt or await world.database[OUTBOX].find_one({"key": key, "state": {"$ne": "published"}}):
        return f"{key} is not appended to any more"
    await world.settle(key)
    world.retired.append(key)
    return key


@action(5, fault=False)
async def queue_again(world: World, dice: random.Random) -> str | None:
    """Another application makes a file wanted once more, by a newer message: what was settled before stays so, and only
    MongoDB's memory tells."""
    if not world.retired:
        return None
    key = dice.choice(world.retired)
    await world.append(key)
    return key


@action(2, fault=False)
async def trim(world: World, dice: random.Random) -> str | None:
    """What has been dealt with, up to the first entry that has not."""
    there = [entry for entry in await world.stream() if entry not in world.trimmed]
    dealt_with = set(world.retired) - world.history.queued_again()
    rest = next((n for n, (_, fields) in enumerate(there) if fields.get("file_id") not in dealt_with), len(there))
    if not 0 < rest < len(there):
        return None
    world.trimmed += there[:rest]
    await world.do("XTRIM", STREAM, "MINID", there[rest][0])
    return f"{rest} entries"


POISON: list[dict[str, object]] = [
    {"fields": {"file_id": 7}}, {"fields": None}, {"schema": 99}, {"headers": "none"}, {"attempts": "many"},
    {"note": "QQQQ, which is to be no UTF-8"},
]  # fmt: skip


def whole(key: str) -> dict[str, Any]:
    """A message as the library writes it."""
    return {
        "_id": ObjectId(), "schema": 1, "stream": STREAM, "partition": FILES.partition_of(key), "key": key,
        "position": Timestamp(0, 0), "fields": {"file_id": key}, "headers": {}, "state": "pending", "attempts": 0,
        "last_error": None,
    }  # fmt: skip


@action(2)
async def poison(world: World, dice: random.Random) -> str:
    """A message written around the library."""
    key, wrong = world.name("poison"), dice.choice(POISON)
    document = {**whole(key), **wrong}
    await world.database.files.insert_one({"_id": key, "parsing": "queued"})
    world.history.add(Poisoned(str(document["_id"])))
    messages: Any = world.database[OUTBOX]
    await messages.insert_one(broken(document), bypass_document_validation=True)
    world.poisoned.append(document["_id"])
    return str(wrong)


@action(2, fault=False)
async def mend_and_retry(world: World, dice: random.Random) -> str | None:
    found = await world.database[OUTBOX].find_one({"_id": {"$in": world.poisoned}, "state": "dead"}, {"key": 1})
    if not found:
        return None
    right = {"schema": 1, "fields": {"file_id": found["key"]}, "headers": {}, "attempts": 0}
    await world.database[OUTBOX].update_one({"_id": found["_id"]}, {"$set": right, "$unset": {"note": ""}})
    world.poisoned.remove(found["_id"])
    world.history.add(Retried(str(found["_id"])))
    await dead.retry(world.database, Streams([FILES]), found["_id"])
    return str(found["_id"])

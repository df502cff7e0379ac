"""What chance may choose from. Each action says what it did, or nothing when there was nothing to do it to."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bson import ObjectId
from bson.timestamp import Timestamp

from outbox import dead
from outbox.schema import OUTBOX
from outbox.streams import FILES, Streams
from tests.faults import append_only_file
from tests.faults.explorer.world import World
from tests.faults.history import Lost, Poisoned, Retried, RolledBack
from tests.faults.proxy import Proxy, Way
from tests.faults.scenario import CHECKPOINTS, STREAM
from tests.waiting import pass_by

Do = Callable[[World, random.Random], Awaitable[str | None]]


@dataclass(frozen=True)
class Action:
    name: str
    weight: int
    do: Do
    fault: bool


ACTIONS: list[Action] = []


def action(weight: int, *, fault: bool = True) -> Callable[[Do], Do]:
    def add(do: Do) -> Do:
        ACTIONS.append(Action(do.__name__.replace("_", " "), weight, do, fault))
        return do

    return add


# -- the client and the operator


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
    published = await world.database[OUTBOX].find({"state": "published", "key": {"$nin": world.retired}}).to_list()
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


@action(2, fault=False)
async def trim(world: World, dice: random.Random) -> str | None:
    """What has been dealt with, up to the first entry that has not."""
    there = [entry for entry in await world.stream() if entry not in world.trimmed]
    rest = next((n for n, (_, fields) in enumerate(there) if fields.get("file_id") not in world.retired), len(there))
    if not 0 < rest < len(there):
        return None
    world.trimmed += there[:rest]
    await world.do("XTRIM", STREAM, "MINID", there[rest][0])
    return f"{rest} entries"


POISON: list[dict[str, object]] = [
    {"fields": {"file_id": 7}}, {"fields": None}, {"schema": 99}, {"headers": "none"}, {"attempts": "many"}
]  # fmt: skip


@action(2)
async def poison(world: World, dice: random.Random) -> str:
    """A message written around the library."""
    key, wrong = world.name("poison"), dice.choice(POISON)
    whole = {
        "_id": ObjectId(), "schema": 1, "stream": STREAM, "partition": FILES.partition_of(key), "key": key,
        "position": Timestamp(0, 0), "fields": {"file_id": key}, "headers": {}, "state": "pending", "attempts": 0,
        "last_error": None,
    }  # fmt: skip
    await world.database.files.insert_one({"_id": key, "parsing": "queued"})
    world.history.add(Poisoned(str(whole["_id"])))
    await world.database[OUTBOX].insert_one({**whole, **wrong}, bypass_document_validation=True)
    world.poisoned.append(ObjectId(str(whole["_id"])))
    return str(wrong)


@action(2, fault=False)
async def mend_and_retry(world: World, dice: random.Random) -> str | None:
    found = await world.database[OUTBOX].find_one({"_id": {"$in": world.poisoned}, "state": "dead"})
    if not found:
        return None
    right = {"schema": 1, "fields": {"file_id": found["key"]}, "headers": {}, "attempts": 0}
    await world.database[OUTBOX].update_one({"_id": found["_id"]}, {"$set": right})
    world.poisoned.remove(found["_id"])
    world.history.add(Retried(str(found["_id"])))
    await dead.retry(world.database, Streams([FILES]), found["_id"])
    return str(found["_id"])


# -- relays


@action(5)
async def kill_a_relay(world: World, dice: random.Random) -> str | None:
    relay = dice.choice(world.relays)
    if relay in world.down:
        return None
    world.down.add(relay)
    relay.kill()
    world.asleep.discard(relay)
    return relay.name


@action(3)
async def stop_a_relay(world: World, dice: random.Random) -> str | None:
    relay = dice.choice(world.relays)
    if relay in world.down | world.asleep:
        return None
    world.down.add(relay)
    code = await asyncio.to_thread(relay.stop, 10)
    return f"{relay.name}, which ends with {code}"


@action(12, fault=False)
async def start_a_relay(world: World, dice: random.Random) -> str | None:
    relay = next((relay for relay in world.relays if relay in world.down), None)
    if not relay:
        return None
    relay.start()
    world.down.discard(relay)
    return relay.name


@action(4)
async def put_a_relay_to_sleep(world: World, dice: random.Random) -> str | None:
    relay = dice.choice(world.relays)
    if relay in world.down | world.asleep:
        return None
    relay.pause()
    world.asleep.add(relay)
    return relay.name


@action(6, fault=False)
async def wake_a_relay(world: World, dice: random.Random) -> str | None:
    relay = next((relay for relay in world.relays if relay in world.asleep), None)
    if not relay:
        return None
    relay.resume()
    world.asleep.discard(relay)
    return relay.name


# -- networks


def network(world: World, dice: random.Random) -> tuple[str, Proxy]:
    if world.members.behind_a_proxy and dice.random() < 0.5:
        return "mongodb", world.to_mongo
    return "redis", world.to_redis


@action(6)
async def spoil_a_network(world: World, dice: random.Random) -> str:
    """Until it is healed."""
    (server, to), how = network(world, dice), dice.choice(["cut", "silent", "late", "bytewise"])
    match how:
        case "cut":
            to.cut()
        case "silent":
            to.silent = True
        case "late":
            to.latency = dice.uniform(0.05, 1)
        case "bytewise":
            to.bytewise = True
    return f"to {server}: {how}"


@action(12, fault=False)
async def heal_a_network(world: World, dice: random.Random) -> str | None:
    server, to = network(world, dice)
    if not (to.silent or to.refusing or to.latency or to.bytewise):
        return None
    to.heal()
    return f"to {server}"


@action(3)
async def reset_connections(world: World, dice: random.Random) -> str:
    server, to = network(world, dice)
    to.reset()
    return f"to {server}"


REQUESTS = {
    "redis": [b"evalsha", b'"message_id"', b"file_parsers"],
    "mongodb": [b"published_at", b"findAndModify", b"aggregate", b"update"],
}


@action(8)
async def catch_requests(world: World, dice: random.Random) -> str:
    """The next few of a kind lose their reply, or are held until somebody lets them go."""
    server, to = network(world, dice)
    way, text = dice.choice([Way.LOSE_THE_REPLY, Way.HOLD, Way.HOLD_THE_REPLY]), dice.choice(REQUESTS[server])
    times = dice.choice([1, 1, 3])
    to.rule(way, text, times=times)
    return f"{way.name.lower().replace('_', ' ')}, {times} to {server} with {text.decode()}"


@action(8, fault=False)
async def let_go(world: World, dice: random.Random) -> str | None:
    held = len(world.to_redis.held) + len(world.to_mongo.held)
    world.to_redis.release()
    world.to_mongo.release()
    return f"{held} requests or replies" if held else None


# -- Redis


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


# -- MongoDB


@action(2)
async def step_down_mongodb(world: World, dice: random.Random) -> str:
    await asyncio.to_thread(world.members.step_down)
    await world.accepted()
    return ""


@action(2)
async def kill_mongodb(world: World, dice: random.Random) -> str:
    await asyncio.to_thread(world.members.crash)
    await world.accepted()
    return ""


@action(2)
async def halt_mongodb(world: World, dice: random.Random) -> str:
    """For longer than a replica set waits before it elects another primary."""
    seconds = dice.uniform(0.1, 2)
    primary = await asyncio.to_thread(world.members.primary)
    primary.pause()
    await pass_by(seconds)
    primary.resume()
    await world.accepted()
    return f"for {seconds:.1f} s"


# -- rest


@action(5, fault=False)
async def rest(world: World, dice: random.Random) -> str:
    await world.comes_to_rest()
    world.goes_on()
    return f"{len(await world.stream())} entries"

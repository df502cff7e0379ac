"""What happens between relays and servers."""

from __future__ import annotations

import random

from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World
from tests.faults.proxy import Proxy, Way

action = Actions()


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
    "mongodb": [b"published_at", b"findAndModify", b"intent", b"aggregate", b"update"],
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

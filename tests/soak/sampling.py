"""The figures of a soak, as they are at one time."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

import psutil

from outbox.database import OUTBOX, Database
from outbox.embedded import RedisServer
from outbox.embedded.process import Process
from tests.soak.stage import STREAM, Stage

MEGABYTE = 1_000_000
LATEST = 200
"""Messages that are looked at for how long they took."""


async def sample(stage: Stage, database: Database) -> dict[str, float]:
    """All that `figures.KINDS` names. PyMongoError or RedisError while a server is away."""
    status = await database.client.admin.command("serverStatus")
    sizes = {name: await database.command("collStats", name) for name in await database.list_collection_names()}
    outbox = sizes.pop(database[OUTBOX].name)
    others = sum(size["storageSize"] + size["totalIndexSize"] for size in sizes.values())
    return {
        **_program("relay", stage.relays[0]),
        **_program("worker", stage.workers[0]),
        **await asyncio.to_thread(_redis, stage.redis),
        "connections to MongoDB": status["connections"]["current"],
        "messages": outbox["count"],
        "indexes of messages": outbox["totalIndexSize"] / MEGABYTE,
        "all other collections, with indexes": others / MEGABYTE,
        "time until published, median": await _milliseconds(database),
    }


def _program(name: str, program: Process) -> dict[str, float]:
    process = psutil.Process(program.pid)
    return {
        f"memory of the {name}": process.memory_info().rss / MEGABYTE,
        f"open files of the {name}": process.num_fds(),
    }


def _redis(server: RedisServer) -> dict[str, float]:
    with server.client() as client:
        info: dict[str, Any] = client.info()
        return {
            "connections to Redis": info["connected_clients"],
            "memory of Redis": info["used_memory"] / MEGABYTE,
            "keys in Redis": client.dbsize(),
            "entries in the stream": client.xlen(STREAM.key),
        }


async def _milliseconds(database: Database) -> float:
    """From append to mark, of the latest messages that are marked."""
    latest = database[OUTBOX].find({}, {"created_at": 1, "published_at": 1}).sort("_id", -1).limit(LATEST)
    taken = [one["published_at"] - one["created_at"] async for one in latest if "published_at" in one]
    return 1000 * median(each.total_seconds() for each in taken) if taken else 0.0

"""The least that can carry a message over: a change stream and an XADD, and nothing that a crash would need.

Run as a process of its own, `python -m outbox.bench.bare`, as the relay is.
"""

from __future__ import annotations

import sys

import uvloop

from outbox.database import OUTBOX
from outbox.servers.connections import connect_mongo, connect_redis, open_database
from outbox.settings import OutboxSettings, load

READY = "ready"


async def carry(settings: OutboxSettings) -> None:
    """Add an entry for each message that is inserted, until the process is stopped."""
    async with connect_mongo(settings) as client, connect_redis(settings) as redis:
        messages = open_database(client, settings.place)[OUTBOX]
        async with await messages.watch([{"$match": {"operationType": "insert"}}]) as changes:
            sys.stdout.write(f"{READY}\n")
            sys.stdout.flush()
            async for change in changes:
                message = change["fullDocument"]
                await redis.xadd(
                    settings.outbox_redis_prefix + message["stream"],
                    {**message["fields"], "message_id": str(message["_id"])},
                )


if __name__ == "__main__":
    uvloop.run(carry(load(OutboxSettings)))

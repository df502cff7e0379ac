"""The least that can carry a message over: a change stream and an XADD, and nothing that a crash would need.

Run as a process of its own, `python -m outbox.bench.bare`, as the relay is. With the argument `mark`, it also marks
each message published, as who writes such a loop does next.
"""

from __future__ import annotations

import sys

import uvloop

from outbox.database import OUTBOX
from outbox.message.document import State
from outbox.servers.connections import connect_mongo, connect_redis, open_database
from outbox.settings import OutboxSettings, load

READY = "ready"
MARK = "mark"
UNMARKED, MARKED = "bare loop", "bare loop with marks"


async def carry(settings: OutboxSettings, *, mark: bool) -> None:
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
                if mark:
                    await messages.update_one(
                        {"_id": message["_id"]},
                        {"$set": {"state": State.PUBLISHED.value}, "$currentDate": {"published_at": True}},
                    )


if __name__ == "__main__":
    uvloop.run(carry(load(OutboxSettings), mark=MARK in sys.argv[1:]))

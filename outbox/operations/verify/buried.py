"""Dead messages that keep a document waiting: nobody hears of them but by this check."""

from __future__ import annotations

from bson import ObjectId

from outbox.database import OUTBOX
from outbox.message.document import State
from outbox.message.subjects import NAMING, reader, that_wait
from outbox.operations.verify.findings import KEPT, Finding, System, named, number
from outbox.servers.paging import in_pages

PAGE = 500


async def dead_keep_nobody_waiting(system: System) -> list[Finding]:
    waiting: list[ObjectId] = []
    for stream in system.streams.values():
        if stream.subject is None:
            continue
        query = {"state": State.DEAD.value, "stream": stream.name, "died_at": {"$not": {"$gte": system.settled}}}
        dead = system.database[OUTBOX].find(query, {"_id": 1, **NAMING}, batch_size=PAGE)
        async for page in in_pages(dead, PAGE):
            suspects = await that_wait(reader(system.database, stream.subject), stream.subject, page)
            # Looked at again: it may just have been retried, and so its file was queued.
            dead_still = {"_id": {"$in": list(suspects)}, "state": State.DEAD.value}
            waiting += [each["_id"] async for each in system.database[OUTBOX].find(dead_still, {"_id": 1})]
            if len(waiting) >= KEPT:
                break
    if not waiting:
        return []
    return [
        Finding(
            "dead-but-queued", f"{number(len(waiting), 'dead message keeps', 'dead messages keep')} a document waiting",
            "whoever uploaded it sees it queued for ever",
            f"outbox dead retry {waiting[0]}, or `outbox dead discard {waiting[0]}`, which ends it in an error",
            len(waiting), named(waiting),
        )
    ]  # fmt: skip

"""Claims: who works on which job, under a lease by the server's clock."""

from __future__ import annotations

from contextlib import suppress

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from outbox.database import JOBS, LENIENT, Database, Document
from outbox.message.poison import MAX_REASON
from outbox.operations.job import Job, Phase
from outbox.operations.records import or_none
from outbox.servers.outages import Trouble, classify

LEASE_SECONDS = 30.0
EXPIRY: Document = {"$add": ["$$NOW", int(LEASE_SECONDS * 1000)]}


async def claim(database: Database, owner: str, *, job: ObjectId | None = None) -> Job | None:
    """Take an open job that nobody works on, the oldest first, or that one; None: there is none.

    Of two who ask at once, one gets it. What `owner` has already counts as free. One that cannot be read is left alone:
    by others, or by a later version, whose relays carry it out.
    """
    free = [{"owner": None}, {"owner": owner}, {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}]
    ready = {"$expr": {"$lte": ["$not_before", "$$NOW"]}}
    query = {"open": True, "_id": job or {"$type": "objectId"}, "$or": free, **ready}
    jobs = database[JOBS].with_options(codec_options=LENIENT)
    # Each may hold thousands of ids: so only one is read at a time, and seldom more than the first.
    for each in sorted([document["_id"] async for document in jobs.find(query, {"_id": 1})]):
        if or_none(Job.of, await jobs.find_one({"_id": each}) or {}) is None:
            continue
        found = await database[JOBS].find_one_and_update(
            {**query, "_id": each},
            [
                {
                    "$set": {
                        "owner": {"$literal": owner}, "phase": Phase.RUNNING.value, "expires_at": EXPIRY,
                        "started_at": {"$ifNull": ["$started_at", "$$NOW"]}, "failure": None,
                    }
                }
            ],
            return_document=ReturnDocument.AFTER,
        )  # fmt: skip
        if found is not None:
            return Job.of(found)
    return None


async def release(database: Database, owner: str) -> None:
    """Give back what `owner` works on, so that another one goes on with it at once."""
    await database[JOBS].update_many({"open": True, "owner": owner}, {"$set": {"owner": None}})


async def set_aside(database: Database, job: Job, owner: str, error: Exception) -> None:
    """After a step that failed: unless that passes by itself, the other jobs have their turn before this one."""
    if classify(error) is Trouble.OUTAGE:
        return
    values = {"owner": None, "not_before": EXPIRY, "failure": {"$literal": str(error)[:MAX_REASON]}}
    with suppress(PyMongoError):  # then its lease runs out
        await database[JOBS].update_one({"_id": job.id, "open": True, "owner": owner}, [{"$set": values}])

"""Claims: who works on which job, under a lease by the server's clock."""

from __future__ import annotations

from contextlib import suppress

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import ConnectionFailure, NetworkTimeout, PyMongoError

from outbox.database import JOBS, LENIENT, Database, Document
from outbox.operations.job import Job, Phase
from outbox.operations.records import or_none
from outbox.servers.causes import detail
from outbox.servers.outages import Trouble, classify

LEASE_SECONDS = 30.0
MOMENT_SECONDS = 2.0
"""How long the other jobs have their turn before one that met what passes by itself, as far as anybody can tell."""


def _in(seconds: float) -> Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}


EXPIRY = _in(LEASE_SECONDS)
_SET_ASIDE = {"$and": [{"$eq": [{"$type": "$not_before"}, "date"]}, {"$lte": ["$not_before", "$$NOW"]}]}
_TURN = {"$cond": [_SET_ASIDE, {"$toLong": "$not_before"}, 0]}
"""A number, whatever others wrote: 0 where it was never set aside, or by a clock that has been set back since."""


async def claim(database: Database, owner: str, *, job: ObjectId | None = None) -> Job | None:
    """Take an open job that nobody works on, or that one; None: there is none.

    First those that were never set aside, the oldest first; then those that were, in the order in which their time has
    come. By age alone, a few old ones that fail slowly would be ready again before a later one ever had its turn.

    Of two who ask at once, one gets it. What `owner` has already counts as free. One that cannot be read is left alone:
    by others, or by a later version, whose relays carry it out.
    """
    free = [{"owner": None}, {"owner": owner}, {"$expr": _over("$expires_at")}]
    ready = {"$expr": _over("$not_before")}
    query = {"open": True, "_id": job or {"$type": "objectId"}, "$or": free, **ready}
    jobs = database[JOBS].with_options(codec_options=LENIENT)
    # Each may hold thousands of ids: so only one is read at a time, and seldom more than the first.
    for _, each in sorted([(one["turn"], one["_id"]) async for one in jobs.find(query, {"turn": _TURN})]):
        if or_none(Job.of, await jobs.find_one({"_id": each}) or {}) is None:
            continue
        found = await jobs.find_one_and_update(
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


def _over(moment: str) -> Document:
    """Whether it has passed, or is further away than anything is set: then the server's clock has been set back since,
    and whoever waited for it would wait for as long as that was.

    By another lease, because a claim that waited for another's write compares with the time at which it began.
    """
    return {"$or": [{"$lte": [moment, "$$NOW"]}, {"$gt": [moment, _in(2 * LEASE_SECONDS)]}]}


async def release(database: Database, owner: str) -> None:
    """Give back what `owner` works on, so that another one goes on with it at once."""
    await database[JOBS].update_many({"open": True, "owner": owner}, {"$set": {"owner": None}})


async def set_aside(database: Database, job: Job, owner: str, error: Exception) -> None:
    """After a step that failed: the other jobs have their turn before this one.

    What MongoDB refuses as too large or too slow at present may always be so for this job: so it steps aside as well,
    for a moment. Not when MongoDB is away, which is no job's fault: it goes on where it was once that is back.
    """
    if isinstance(error, ConnectionFailure) and not isinstance(error, NetworkTimeout):
        return
    seconds = MOMENT_SECONDS if classify(error) is Trouble.OUTAGE else LEASE_SECONDS
    values = {"owner": None, "not_before": _in(seconds), "failure": {"$literal": detail(error)}}
    with suppress(PyMongoError):  # then its lease runs out
        await database[JOBS].update_one({"_id": job.id, "open": True, "owner": owner}, [{"$set": values}])

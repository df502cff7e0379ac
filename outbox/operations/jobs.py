"""Jobs: replays that go on until they are done, whoever works on them and however often that one dies.

A job is worked on by one owner at a time, under a lease by the server's clock, page by page. A page, the job's progress
and the proof that its owner still has it are one transaction: so a page is replayed once, whatever crashes, and an
owner that slept replays nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from outbox.database import JOBS, LENIENT, Database, Document
from outbox.errors import JobEnded, KeyTaken, NoSuchJob, OutboxError, UsageError
from outbox.message.poison import TOO_FULL
from outbox.operations import audit, replay
from outbox.operations.claims import EXPIRY
from outbox.operations.claims import claim as claim
from outbox.operations.claims import release as release
from outbox.operations.claims import set_aside as set_aside
from outbox.operations.job import Job as Job
from outbox.operations.job import Phase as Phase
from outbox.operations.messages import plain
from outbox.operations.pace import Pace as Pace  # whoever works on a job needs one
from outbox.operations.records import readable
from outbox.operations.replay import PAGE
from outbox.operations.selection import SHOWN_IDS, Selection
from outbox.servers import transaction
from outbox.servers.clock import server_time
from outbox.servers.latest import as_of_now

STEP_SECONDS = 20.0
"""For one page. Shorter than a lease, so that nobody else begins with a page that is still being written."""
MAX_RATE = 1_000_000.0
MIN_RATE = 0.1
MAX_REQUEST = 255


async def create(
    database: Database,
    selection: Selection,
    *,
    who: str,
    rate: float,
    any_rate: bool = False,
    before: datetime | None = None,
    request: str | None = None,
    owner: str | None = None,
    seconds: float = STEP_SECONDS,
) -> Job:
    """Ask for a replay, and put on record who did; returns the job.

    :param rate: messages a second, at most.
    :param any_rate: nobody asked for this rate: the job that a request of the same name made may have another one.
    :param before: only what was published until then, by the server's clock; by default until now.
    :param request: names the request. A second one of that name and owner makes nothing new: it gets the job of the
        first, and if somebody else asks, that is put on record.
    :param owner: whose name that is; by default that of `who`.
    :param seconds: for each of: the looks before the transaction, that, and its lost outcome.
    :raises KeyTaken: a request of that name asked for something else.
    :raises CommitUnknown: whether the job was made could not be found out. Look at the latest before you ask again.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UsageError(f"rate must be {MIN_RATE:g} to {MAX_RATE:.0f} messages a second, not {rate:g}")
    if request is not None and not 0 < len(request) <= MAX_REQUEST:
        raise UsageError(f"the name of a request has 1 to {MAX_REQUEST} characters")
    named = _owned(owner or who, request) if request else None
    with pymongo.timeout(seconds):
        if request and (known := await requested(database, request, owner=owner or who)):
            return await _the_same(database, known, selection, None if any_rate else rate, who)
        before = before or await server_time(database)
        job = Job(ObjectId(), who, selection, before, rate, await replay.count(database, selection, before=before))

    async def body(session: AsyncClientSession) -> Job:
        values: Document = {
            "who": who, "selection": selection.as_document(), "before": before, "rate": rate,
            "selected": job.selected, "id_count": len(selection.ids) or None, "replayed": 0,
            "phase": Phase.WAITING.value, "open": True, "last": None,
            "owner": None, **({"request": named} if named else {}),
        }  # fmt: skip
        # An update, although it always inserts: only that takes the server's time.
        insert: Document = {"$setOnInsert": values, "$currentDate": {"created_at": True}}
        await database[JOBS].update_one({"_id": job.id}, insert, upsert=True, session=session)
        told = {"job": job.id, "selection": selection.summary(), "rate": rate}
        await audit.record(database, who=who, action="replay", count=job.selected, details=told, session=session)
        return await _find(database, job.id, session)

    async def happened() -> bool:
        known = await database[JOBS].update_one({"_id": job.id}, {"$set": {"who": who}})
        return known.matched_count > 0

    try:
        return await transaction.run(database.client, body, happened=happened, seconds=seconds)
    except DuplicateKeyError:  # the same request came twice at once
        known = await requested(database, request or "", owner=owner or who)
        if known is None:
            raise
        return await _the_same(database, known, selection, None if any_rate else rate, who)


async def requested(database: Database, request: str, *, owner: str) -> Job | None:
    """The job that a request of this name and owner asked for."""
    # Linearizable: the winner of a race has committed when the loser asks, but a majority may not have it yet.
    jobs = database[JOBS].with_options(read_concern=ReadConcern("linearizable"))
    found = await jobs.find_one({"request": _owned(owner, request)})
    return _read(found) if found else None


async def find(database: Database, job: ObjectId) -> Job:
    """Raises NoSuchJob."""
    return await _find(database, job)


async def latest(database: Database, limit: int = 20) -> list[Job]:
    """The latest jobs, newest first, to look at: of those that were asked for by ids, with the first of them."""
    few: Document = {"selection.ids": {"$slice": SHOWN_IDS}}
    jobs = database[JOBS].with_options(codec_options=LENIENT)
    return await readable(jobs.find({"_id": {"$type": "objectId"}}, few).sort("_id", -1), Job.of, limit)


async def cancel(database: Database, job: ObjectId, *, who: str, seconds: float = STEP_SECONDS) -> Job:
    """Stop a job after the current page. What it has replayed stays so.

    :param seconds: for the transaction, and again for its lost outcome.
    :raises NoSuchJob, JobEnded: there is nothing to stop.
    :raises CommitUnknown: whether it was stopped could not be found out. Look at the job.
    """

    async def body(session: AsyncClientSession) -> Job:
        await _find(database, job, session)
        found = await database[JOBS].find_one_and_update(
            {"_id": job, "open": True}, _ended(Phase.CANCELLED), session=session, return_document=ReturnDocument.AFTER
        )
        if found is None:
            ended = await _find(database, job, session)
            raise JobEnded(f"job {job} is {ended.phase.value} already")
        told = {"job": job, "selected": found["selected"]}
        await audit.record(
            database, who=who, action="cancel replay", count=found["replayed"], details=told, session=session
        )
        return Job.of(found)

    async def happened() -> bool:
        # A write first: it waits for a transaction that is still under way on this job.
        fenced = await database[JOBS].find_one_and_update({"_id": job}, {"$inc": {"fence": 1}})
        return fenced is not None and fenced.get("phase") == Phase.CANCELLED

    return await transaction.run(database.client, body, happened=happened, seconds=seconds)


async def step(database: Database, job: Job, owner: str, *, limit: int = PAGE) -> Job | None:
    """Replay the next page of a claimed job; returns how it stands then.

    None: it is not this owner's any more, because it was cancelled or the lease ran out. After an error of MongoDB,
    claim the job again: the page may have been replayed, and the job knows.
    """
    page = await _page(database, job, limit)
    mine = {"_id": job.id, "open": True, "owner": owner, "last": job.last}
    # A relay of an older version counts what it replays, and not what it finds.
    selected = max(job.matched, job.replayed) if job.selected is None else job.selected

    async def body(session: AsyncClientSession) -> Job | None:
        replayed = 0
        if page and page.ids:
            replayed = await replay.put_back(database, page, job=job.id, session=session)
        progress: Document | list[Document] = (
            [
                {
                    "$set": {
                        "last": page.last, "expires_at": EXPIRY,
                        "replayed": {"$add": ["$replayed", replayed]},
                        "matched": {"$add": [{"$ifNull": ["$matched", 0]}, len(page.ids) + len(page.full)]},
                        "left_out": {"$add": [{"$ifNull": ["$left_out", 0]}, len(page.full)]},
                    }
                }
            ]
            if page
            else _ended(Phase.DONE, selected=selected)
        )  # fmt: skip
        found = await database[JOBS].find_one_and_update(
            mine, progress, session=session, return_document=ReturnDocument.AFTER
        )
        if found is None:
            raise _Lost
        if page and page.full:
            told = {"job": job.id, "messages": list(page.full), "reason": TOO_FULL}
            await audit.record(
                database, who=job.who, action="replay left out", count=len(page.full), details=told, session=session
            )
        if page is None:
            told = {"job": job.id, "selected": selected}
            await audit.record(
                database, who=job.who, action="replay done", count=found["replayed"], details=told, session=session
            )
        return Job.of(found)

    try:
        async with database.client.start_session() as session:
            with pymongo.timeout(STEP_SECONDS):
                return await session.with_transaction(
                    body, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
                )
    except _Lost:
        return None


async def _page(database: Database, job: Job, limit: int) -> replay.Page | None:
    """What comes next, read from a state of the outbox that is no older than the job."""
    # Right after a failover, a primary may not know yet what a majority has. Messages would seem not to be there, and
    # be left out for good.
    with pymongo.timeout(STEP_SECONDS):
        async with as_of_now(database) as session, session.bind(end_session=False):
            return await replay.page(database, job.selection, job.before, after=job.last, limit=limit)


class _Lost(OutboxError):
    """Aborts a page's transaction."""


def _ended(phase: Phase, **values: Any) -> Document:
    return {
        "$set": {"phase": phase.value, **values},
        "$unset": {"open": "", "expires_at": ""},
        "$currentDate": {"finished_at": True},
    }


async def _find(database: Database, job: ObjectId, session: AsyncClientSession | None = None) -> Job:
    found = await database[JOBS].find_one({"_id": job}, session=session)
    if found is None:
        raise NoSuchJob(f"there is no job {job}: jobs are kept for 90 days after their end")
    return _read(found)


def _read(document: Document) -> Job:
    try:
        return Job.of(document)
    except ValueError:
        raise NoSuchJob(
            f"job {document['_id']} in {JOBS} cannot be read: others wrote it, or a later version. See: outbox verify"
        ) from None


def _owned(owner: str, request: str) -> str:
    return f"{owner}/{request}"


async def _the_same(database: Database, job: Job, selection: Selection, rate: float | None, who: str) -> Job:
    if _as_sets(job.selection) != _as_sets(selection):
        raise KeyTaken("a request of this name asked for another replay: choose a new one")
    if rate is not None and rate != job.rate:
        raise KeyTaken(
            f"a request of this name asked for {job.rate:g} messages a second, not {rate:g}: choose a new one"
        )
    await asked_again(database, job, who)
    return job


def _as_sets(selection: Selection) -> Document:
    """What a selection says: neither the order of its ids and states counts, nor how often one is given."""
    given = plain(selection.as_document()).items()
    return {name: set(value) if isinstance(value, list) else value for name, value in given}


async def asked_again(database: Database, job: Job, who: str) -> None:
    """Put on record that another one than who asked for it first asked for this job."""
    if who != job.who:
        await audit.record(database, who=who, action="replay asked for again", count=0, details={"job": job.id})

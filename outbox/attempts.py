"""Attempts that came to nothing: the message goes back for another one, or dies; whoever finds it out.

Everything here is a compare-and-set on the message's state and attempts: of several who find out about one attempt,
a worker, its successor and two relays, one decides, and the others change nothing.
"""

from __future__ import annotations

import random
from enum import StrEnum

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import subjects, transaction
from outbox.burial import MAX_REASON
from outbox.checkpoint import Sent
from outbox.message import State
from outbox.printable import printable
from outbox.schema import OUTBOX, Database, Document
from outbox.streams import Retry, Stream

MAX_WAIT_SECONDS = 365 * 86400.0
"""The longest wait for another try. A date beyond the year 9999 could be stored, and not be read again."""


class Cause(StrEnum):
    """Why an attempt came to nothing. The message counts each under this name, with the time of the last."""

    FAILED = "failed"
    """Its handler raised."""
    RESCUED = "rescued"
    """Its worker, or its entry, is gone."""
    RETURNED = "returned"
    """Its worker stopped, and gave it back. That is nobody's failure, and costs the message none of its attempts."""


def standing(sent: Sent) -> Document:
    """Matches the message while this attempt at it is the last one, and has no outcome.

    A worker may be faster than the relay, and have the entry before the message is marked published.
    """
    return {
        "_id": sent.id,
        "$or": [
            {"state": State.PUBLISHED.value, "attempts": sent.attempt},
            {"state": State.PENDING.value, "attempts": sent.attempt - 1},
        ],
    }


def tries(attempt: int, message: Document) -> int:
    """How many of its stream's attempts a message has used: all, but those that an operator or a stop made good."""
    forgiven = message.get("forgiven")
    return attempt - (forgiven if isinstance(forgiven, int) else 0)


def backoff_seconds(retry: Retry, tried: int) -> float:
    """How long to wait after so many tries: exponential with full jitter."""
    return random.uniform(0, min(retry.cap_seconds, retry.base_seconds * 2.0 ** min(max(tried, 1) - 1, 64)))


async def again(
    database: Database, sent: Sent, cause: Cause, *, reason: str | None = None, wait_seconds: float | None = None
) -> bool:
    """Put the message back: pending at once, or scheduled. False: the attempt had an outcome already.

    The time to wait for is the server's, and at most MAX_WAIT_SECONDS. `reason`, if any, becomes the message's last
    error.
    """
    values: Document = {
        "state": (State.PENDING if wait_seconds is None else State.SCHEDULED).value,
        # As if marked: from here on, a relay that has not marked the batch yet leaves the message alone.
        "attempts": sent.attempt,
        cause.value: _one_more(cause.value),
        f"{cause.value}_at": "$$NOW",
    }
    if wait_seconds is not None:
        # In this order, so that what is no number waits longest, instead of raising.
        seconds = max(0.0, wait_seconds) if wait_seconds < MAX_WAIT_SECONDS else MAX_WAIT_SECONDS
        values["available_at"] = {"$add": ["$$NOW", int(seconds * 1000)]}
    if reason is not None:
        values["last_error"] = {"$literal": printable(reason[:MAX_REASON], keep_lines=True)}
    if cause is Cause.RETURNED:
        values["forgiven"] = _one_more("forgiven")
    result = await database[OUTBOX].update_one(standing(sent), [{"$set": values}, {"$unset": ["entries"]}])
    return bool(result.modified_count)


async def die(
    database: Database, stream: Stream, sent: Sent, cause: Cause, *, key: object, reason: str, error: str
) -> bool:
    """Make the message dead for `reason`, and its subject `error: …` with it. False: the attempt had an outcome.

    :raises CommitUnknown: may have happened. Repeating it is safe.
    """

    async def body(session: AsyncClientSession) -> bool:
        result = await database[OUTBOX].update_one(
            standing(sent),
            {
                "$set": {
                    "state": State.DEAD.value,
                    "attempts": sent.attempt,
                    "last_error": printable(reason[:MAX_REASON], keep_lines=True),
                },
                "$inc": {cause.value: 1},
                "$currentDate": {"died_at": True, f"{cause.value}_at": True},
                "$unset": {"entries": ""},
            },
            session=session,
        )
        if result.modified_count:
            await subjects.end_in_error(database, stream.subject, key, sent.id, subjects.as_error(error), session)
        return bool(result.modified_count)

    async def happened() -> bool:
        asked = {"$currentDate": {"asked_at": True}}  # a write waits for a transaction that is still under way
        found = await database[OUTBOX].find_one_and_update({"_id": sent.id}, asked, projection={"state": 1})
        return found is None or found["state"] == State.DEAD.value

    return await transaction.run(database.client, body, happened=happened)


def _one_more(name: str) -> Document:
    return {"$add": [{"$ifNull": [f"${name}", 0]}, 1]}

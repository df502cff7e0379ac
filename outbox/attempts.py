"""Attempts that came to nothing: the message goes back for another one, or dies; whoever finds it out.

Everything here is a compare-and-set on the message's state and attempts: of several who find out about one attempt,
a worker, its successor and two relays, one decides, and the others change nothing.
"""

from __future__ import annotations

import random
from enum import StrEnum

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import subjects, transaction
from outbox.burial import MAX_REASON
from outbox.checkpoint import Sent
from outbox.message import State, number
from outbox.printable import printable
from outbox.schema import OUTBOX, Database, Document
from outbox.streams import Retry, Stream

MAX_WAIT_SECONDS = 365 * 86400.0
"""The longest wait for another try. A date beyond the year 9999 could be stored, and not be read again."""
MAX_KILLERS = 10


class Cause(StrEnum):
    """Why an attempt came to nothing. The message counts each under this name, with the time of the last."""

    FAILED = "failed"
    """Its handler raised."""
    RESCUED = "rescued"
    """Its worker, or its entry, is gone."""
    TAKEN_OVER = "taken_over"
    """Its worker died while it was in flight, and another one took it over."""
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


SUSPICION = ("suspect", "taken_from", "taker")
"""What is stored of a message that was in flight when its worker died, until it has had an outcome: that worker's name;
all those it was taken over from to be handled alone; and a mark of who does so now."""


def tries(attempt: int, message: Document) -> int:
    """How many of its stream's attempts a message has used.

    Every publication is one, and every take-over from a worker that died; but not those that an operator, a stop or a
    rescue made good.
    """
    return attempt + count(message, "taken_over") - count(message, "forgiven")


def count(message: Document, name: str) -> int:
    """What one of its fields counts; 0 for what is no whole number."""
    value = message.get(name)
    return value if isinstance(value, int) else 0


def killers(message: Document) -> list[str]:
    """The workers that the message was taken over from since its last outcome; after each, it was handled alone."""
    found = message.get("taken_from")
    return [str(name) for name in found] if isinstance(found, list) else []


def is_convicted(attempt: int, message: Document, retry: Retry) -> bool:
    """Whether the message dies instead of being tried once more: it was handled alone, and its tries are used up.

    Of several that were in flight when a worker died, nobody knows which one it was, so each is tried alone before.
    """
    return bool(killers(message)) and tries(attempt, message) >= retry.attempts


async def take_over(database: Database, sent: Sent, holder: str, taker: str) -> Document | None:
    """Put on record, before its handler is called, that a message is tried again after its worker `holder` died.

    Before, because nobody is left to do it after the next death. `taker` is unique for each time: a repeated call
    counts once.

    :returns: the message as it is now; None: it was on record already, or this attempt has an outcome.
    """
    before = {"$cond": [{"$isArray": "$taken_from"}, "$taken_from", []]}
    return await database[OUTBOX].find_one_and_update(
        {**standing(sent), "taker": {"$ne": taker}},
        [
            {
                "$set": {
                    "suspect": {"$literal": holder},
                    "taker": {"$literal": taker},
                    "taken_from": {"$slice": [{"$concatArrays": [before, [{"$literal": holder}]]}, -MAX_KILLERS]},
                    Cause.TAKEN_OVER.value: _one_more(Cause.TAKEN_OVER.value),
                    f"{Cause.TAKEN_OVER.value}_at": "$$NOW",
                }
            }
        ],
        return_document=ReturnDocument.AFTER,
    )


def backoff_seconds(retry: Retry, tried: int) -> float:
    """How long to wait after so many tries: exponential with full jitter."""
    return random.uniform(0, min(retry.cap_seconds, retry.base_seconds * 2.0 ** min(max(tried, 1) - 1, 64)))


async def again(
    database: Database,
    sent: Sent,
    cause: Cause,
    *,
    reason: str | None = None,
    wait_seconds: float | None = None,
    suspect: str | None = None,
    forgive: int = 0,
) -> bool:
    """Put the message back: pending at once, or scheduled. False: the attempt had an outcome already.

    The time to wait for is the server's, and at most MAX_WAIT_SECONDS. `reason`, if any, becomes the message's last
    error. `suspect` names the worker that died while the message was in flight: the next one handles it alone.
    `forgive` are so many tries that do not count.
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
    forgotten = {"entries", "taker"}
    if forgive:
        values["forgiven"] = _one_more("forgiven", forgive)
    if suspect is not None:
        values["suspect"] = {"$literal": suspect}
    if cause is Cause.FAILED:
        forgotten |= {*SUSPICION}  # its worker has lived through it
    if cause is Cause.RETURNED:
        forgotten.add("taken_from")
    result = await database[OUTBOX].update_one(standing(sent), [{"$set": values}, {"$unset": sorted(forgotten)}])
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
            [
                {
                    "$set": {
                        "state": State.DEAD.value,
                        "attempts": sent.attempt,
                        "last_error": {"$literal": printable(reason[:MAX_REASON], keep_lines=True)},
                        cause.value: _one_more(cause.value),
                        f"{cause.value}_at": "$$NOW",
                        "died_at": "$$NOW",
                    }
                },
                {"$unset": "entries"},
            ],
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


def _one_more(name: str, more: int = 1) -> Document:
    return {"$add": [number(name), more]}

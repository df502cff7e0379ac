"""Attempts that came to nothing: the message goes back for another one, or dies; whoever finds it out.

Everything here is a compare-and-set on the message's state and attempts: of several who find out about one attempt,
a worker, its successor and two relays, one decides, and the others change nothing.
"""

from __future__ import annotations

import random

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from outbox.database import OUTBOX, Database, Document
from outbox.message import subjects, transitions
from outbox.message.document import Sent, State, number
from outbox.message.poison import MAX_REASON, TOO_FULL, TOO_LARGE
from outbox.message.transitions import Cause, standing
from outbox.printable import printable
from outbox.streams.declaration import Retry, Stream

MAX_WAIT_SECONDS = 365 * 86400.0
"""The longest wait for another try. A date beyond the year 9999 could be stored, and not be read again."""
MAX_KILLERS = 10


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


def is_repeat(message: Document) -> bool:
    """Whether this is the first attempt after a replay, for which its subject speaks of the time before.

    An operator wants done again what was done. If the attempt's worker dies, what the subject says must not end it; the
    attempt after it is judged as any other, so that a plain worker that acknowledges nothing does not have it repeated
    for ever.
    """
    return count(message, "replayed") > 0 and count(message, "attempts") == count(message, "forgiven") + 1


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
                    Cause.TAKEN_OVER.value: {"$add": [number(Cause.TAKEN_OVER.value), 1]},
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
    milliseconds = None
    if wait_seconds is not None:
        # In this order, so that what is no number waits longest, instead of raising.
        seconds = max(0.0, wait_seconds) if wait_seconds < MAX_WAIT_SECONDS else MAX_WAIT_SECONDS
        milliseconds = int(seconds * 1000)
    back = transitions.put_back(
        sent, cause, reason=reason if reason is None else _bounded(reason), wait_milliseconds=milliseconds,
        suspect=suspect, forgive=forgive,
    )  # fmt: skip
    result = await database[OUTBOX].update_one(*back)
    return bool(result.modified_count)


async def die(
    database: Database, stream: Stream, sent: Sent, cause: Cause, *, message: Document, reason: str, error: str
) -> bool:
    """Make the message dead for `reason`; its subject gets with it what a failure by `error` writes there.

    :param message: as it is stored, as far as `subjects.NAMING`.
    :returns: False: the attempt had an outcome.
    :raises CommitUnknown: may have happened. Repeating it is safe.
    """
    given_up = transitions.give_up(sent, cause, reason=_bounded(reason))
    try:
        return await _die(database, stream, sent, given_up, message, error)
    except OperationFailure as refused:
        if refused.code not in TOO_LARGE:
            raise
    return await die_full(database, stream, sent, message=message, reason=reason, error=error)


async def die_full(
    database: Database, stream: Stream, sent: Sent, *, message: Document, reason: str, error: str
) -> bool:
    """`die`, for a message that has no room for any change: what it held goes, and the reason is in its place."""
    gone = f"{TOO_FULL}: what it held is gone; "
    emptied = transitions.bury_emptied({}, State.PUBLISHED, gone + _bounded(reason))._replace(guard=standing(sent))
    return await _die(database, stream, sent, emptied, message, gone + error, unchecked=True)


async def _die(
    database: Database,
    stream: Stream,
    sent: Sent,
    death: transitions.Transition,
    message: Document,
    error: str,
    *,
    unchecked: bool = False,
) -> bool:
    async def body(session: AsyncClientSession, change_subject: bool) -> bool:
        result = await database[OUTBOX].update_one(*death, session=session, bypass_document_validation=unchecked)
        if result.modified_count and change_subject:
            await subjects.fail(database, stream.subject, message, sent.id, error, session)
        return bool(result.modified_count)

    async def happened() -> bool:
        asked = {"$currentDate": {"asked_at": True}}  # a write waits for a transaction that is still under way
        found = await database[OUTBOX].find_one_and_update({"_id": sent.id}, asked, projection={"state": 1})
        return found is None or found["state"] == State.DEAD.value

    return await subjects.run(database, body, happened=happened)


def _bounded(reason: str) -> str:
    return printable(reason[:MAX_REASON], keep_lines=True)

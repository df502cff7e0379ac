"""What becomes of a message that is found to be stuck: published again, dead after its last attempt, or completed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo.errors import OperationFailure

from outbox.database import OUTBOX, Database, Document
from outbox.message import attempts, transitions
from outbox.message.document import Sent, by_attempt
from outbox.message.poison import TOO_LARGE, update_published
from outbox.message.transitions import Cause
from outbox.streams.declaration import Stream


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass did: messages pending again, dead after their last attempt, and settled by their workers."""

    rescued: int = 0
    dead: int = 0
    settled: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(self.rescued + other.rescued, self.dead + other.dead, self.settled + other.settled)


COUNTED = ("attempts", "forgiven", "taken_over", "taken_from")
"""The fields by which `put_back` judges."""


async def put_back(
    database: Database, stream: Stream, message: Document, sent: Sent, reason: str, suspect: str | None = None
) -> Found:
    """Have the message published again, or die for `reason` after its last attempt. Nothing, if it has an outcome.

    `suspect` is the worker of ours that died with it, and perhaps by it. The next one handles it alone, and counts that
    as the try: those that were only in flight beside it do not pay for it.
    """
    try:
        return await _put_back(database, stream, message, sent, reason, suspect)
    except OperationFailure as error:
        if error.code not in TOO_LARGE:
            raise
    died = await attempts.die_full(database, stream, sent, message=message, reason=reason, error=reason)
    return Found(dead=int(died))


async def _put_back(
    database: Database, stream: Stream, message: Document, sent: Sent, reason: str, suspect: str | None
) -> Found:
    used_up = attempts.tries(sent.attempt, message) >= stream.retry.attempts
    if not used_up or (suspect is not None and not attempts.is_convicted(sent.attempt, message, stream.retry)):
        forgive = 0 if suspect is None else 1
        again = await attempts.again(database, sent, Cause.RESCUED, reason=reason, suspect=suspect, forgive=forgive)
        return Found(rescued=int(again))
    reason = f"given up after {sent.attempt} attempts: {reason}"
    died = await attempts.die(database, stream, sent, Cause.RESCUED, message=message, reason=reason, error=reason)
    return Found(dead=int(died))


async def settle(database: Database, messages: Sequence[Document]) -> Found:
    """Complete published messages whose workers have said elsewhere that they are done, as far as `COUNTED`."""
    completed = 0
    for attempt, ids in by_attempt(Sent(message["_id"], message.get("attempts", 0)) for message in messages).items():
        completed += await update_published(database[OUTBOX], transitions.complete_settled(ids, attempt))
    return Found(settled=completed)

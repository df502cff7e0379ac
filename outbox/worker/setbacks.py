"""Setbacks: what becomes of a message whose try came to nothing: it is put back, or it is dead."""

from __future__ import annotations

from pymongo.errors import OperationFailure

from outbox.database import Database, Document
from outbox.delivery.entries import Entry
from outbox.errors import CommitUnknown
from outbox.message import attempts
from outbox.message.poison import TOO_FULL, TOO_LARGE
from outbox.message.transitions import Cause
from outbox.worker.failures import GiveUp, LeftAlone, headline, most_snoozes, summary, wait_seconds
from outbox.worker.hand import Hand
from outbox.worker.release import End


class Setbacks:
    """Each is a compare-and-set on the message, so that repeating it does no harm. Raises what MongoDB raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def give_back(self, entry: Entry, hand: Hand, document: Document) -> End:
        """Its worker stops, or its stream is paused: pending again at once, at no try's cost."""
        assert entry.sent
        forgive = 2 if hand.on_record else 1  # its publication, and its take-over
        try:
            back = await attempts.again(
                self._database, entry.sent, Cause.RETURNED, suspect=hand.suspect, forgive=forgive
            )  # fmt: skip
        except OperationFailure as refused:
            if refused.code not in TOO_LARGE:
                raise
            return await self.die_full(entry, hand, document, "it was to be given back")
        if back:
            hand.told.info("given back")
        return End.AGAIN

    async def die_full(self, entry: Entry, hand: Hand, document: Document, reason: str, error: str = "") -> End:
        """Others made it so large that nothing of it can be changed: asked again, MongoDB would refuse it for ever."""
        assert entry.sent
        try:
            await attempts.die_full(
                self._database, entry.stream, entry.sent, message=document, reason=reason, error=error or reason
            )
        except CommitUnknown:
            return End.HELD  # not acknowledged, and so found again
        hand.told.error("dead", error=f"{TOO_FULL}: {error or reason}"[:500])
        return End.AGAIN

    async def die_of_deaths(self, entry: Entry, hand: Hand, document: Document) -> End:
        """Its worker has died each time that the message was in flight, at last with nothing else."""
        assert entry.sent
        workers = ", ".join([*attempts.killers(document), str(hand.suspect)])
        tried = attempts.tries(entry.sent.attempt, document)
        reason = f"given up after {tried} tries: its worker died each time while it was in flight: {workers}"
        try:
            await attempts.die(
                self._database, entry.stream, entry.sent, Cause.TAKEN_OVER,
                message=document, reason=reason, error=reason,
            )  # fmt: skip
        except CommitUnknown:
            return End.HELD  # not acknowledged, and so found again
        hand.told.error("dead", tried=tried, error=reason)
        return End.AGAIN

    async def put_back(self, entry: Entry, hand: Hand, document: Document, error: BaseException) -> End:
        """After a failure: schedule the next try, or let the message die with its file."""
        try:
            return await self._put_back(entry, hand, document, error)
        except OperationFailure as refused:
            if refused.code not in TOO_LARGE:
                raise
            return await self.die_full(entry, hand, document, summary(error), headline(error))

    async def _put_back(self, entry: Entry, hand: Hand, document: Document, error: BaseException) -> End:
        assert entry.sent
        tried = attempts.tries(entry.sent.attempt, document)
        retry = entry.stream.retry
        if (most := most_snoozes(error)) is not None:
            snoozed = attempts.count(document, Cause.SNOOZED.value)
            if isinstance(error, LeftAlone) or snoozed < most:
                return await self._snooze(entry, hand, error)
            error = GiveUp(f"snoozed {snoozed} times, as often as its handler allows: {headline(error)}")
        if isinstance(error, GiveUp) or tried >= retry.attempts:
            try:
                await attempts.die(
                    self._database, entry.stream, entry.sent, Cause.FAILED,
                    message=document, reason=summary(error), error=headline(error),
                )  # fmt: skip
            except CommitUnknown:
                return End.HELD  # not acknowledged, and so found again
            hand.told.error("dead", tried=tried, error=f"{type(error).__name__}: {headline(error)}"[:500])
            return End.AGAIN
        asked = wait_seconds(error)
        seconds = attempts.backoff_seconds(retry, tried) if asked is None else asked
        await attempts.again(
            self._database, entry.sent, Cause.FAILED, reason=summary(error), wait_seconds=seconds
        )  # fmt: skip
        hand.told.warning(
            "failed, tried again later", tried=tried, of=retry.attempts, seconds=round(seconds, 1),
            error=f"{type(error).__name__}: {headline(error)}"[:500],
        )  # fmt: skip
        return End.AGAIN

    async def _snooze(self, entry: Entry, hand: Hand, error: BaseException) -> End:
        """Put the message back, at no try's cost."""
        assert entry.sent
        seconds = wait_seconds(error)
        await attempts.again(
            self._database, entry.sent, Cause.SNOOZED, reason=summary(error), wait_seconds=seconds or 0.0, forgive=1
        )  # fmt: skip
        hand.told.info("put back", seconds=seconds, reason=headline(error)[:500])
        return End.AGAIN

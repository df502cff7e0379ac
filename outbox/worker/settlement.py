"""Settlement: what becomes of one entry and its message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import structlog
from pymongo.errors import OperationFailure, PyMongoError

from outbox.database import Database, Document
from outbox.delivery.entries import Entry
from outbox.errors import InvalidMessage
from outbox.message import attempts
from outbox.message.poison import TOO_LARGE
from outbox.protocol.ownership import Ownership
from outbox.servers.waiting import first
from outbox.streams.declaration import Stream
from outbox.worker.adoption import adopt
from outbox.worker.batches import Batches
from outbox.worker.completion import Standing, Superseded
from outbox.worker.failures import Failed, GiveUp, LeftAlone
from outbox.worker.hand import Abandoned, Hand
from outbox.worker.handler import Handler
from outbox.worker.message import Message
from outbox.worker.patience import Patience
from outbox.worker.release import End
from outbox.worker.setbacks import Setbacks
from outbox.worker.tries import Count, counted
from outbox.worker.work import Work

log = structlog.get_logger(__name__)

Choose = Callable[[Message], Handler]
"""Finds the handler for a message. Raises GiveUp or LeftAlone when there is none."""

UNCLAIMED_SECONDS = 10.0
"""How long an entry that others added waits for a relay to put its outbox on record for the stream.

A relay does so when it first opens the stream. Until then nobody can tell whose the entry is."""

UNMARKED_SECONDS = 0.5
"""How long to wait for the relay to mark a message published before its handler is called. It does so within
milliseconds; a transaction that is under way by then would be repeated."""

SLOT_SECONDS = 5.0
"""How long a message that was read ahead waits for a slot before it is given back: handlers may have come to hang."""


class Paused(Abandoned):
    """Its stream is: it is given back, and not begun."""


class Settlement:
    """Brings the messages of entries to an outcome, by calling the handler where that is still wanted."""

    def __init__(
        self,
        database: Database,
        work: Work,
        batches: Batches,
        patience: Patience,
        ownership: Ownership,
        paused: Callable[[Stream], bool],
        stop: asyncio.Event,
        late: asyncio.Event,
        count: Count | None = None,
    ) -> None:
        """:param count: is called with each try that has ended."""
        self._database = database
        self._work = work
        self._batches = batches
        self._patience = patience
        self._ownership = ownership
        self._paused = paused
        self._stop = stop
        self._late = late
        self._count = count
        self._setbacks = Setbacks(database)

    async def settle(self, entry: Entry, hand: Hand, choose: Choose) -> End:
        """Bring the entry's message to an outcome, or find that it has one. May be repeated after any error.

        :param choose: the handler for the message.

        Raises what the servers raise, OutOfTime, and ForeignStream.
        """
        if entry.sent is None:
            if not await self._becomes_ours(entry.stream, hand):
                return End.HELD if hand.abandoned.is_set() else End.UNKNOWN
            return End.AGAIN if await adopt(self._database, entry) else End.DONE
        hand.about = {"message": str(entry.sent.id), "attempt": entry.sent.attempt, "stream": entry.stream.name}
        while True:
            async with self._work.isolation.turn(hand):
                match await self._look(entry, hand):
                    case Standing.COMPLETED, _:
                        return End.DONE
                    case Standing.SUPERSEDED, _:
                        return End.AGAIN
                    case Standing.UNKNOWN, _:
                        return End.UNKNOWN
                    case _, document if document.get("stream") != entry.stream.name:
                        hand.told.warning("entry of another stream's message removed", of=document.get("stream"))
                        return End.AGAIN
                    case _, document if hand.suspect is None and document.get("suspect") is not None:
                        hand.suspect = str(document["suspect"])  # and wait for its turn to be alone
                    case _, document:
                        return await self._handle(entry, hand, document, choose)

    async def _becomes_ours(self, stream: Stream, hand: Hand) -> bool:
        """Whether the stream's record names this outbox, as soon as a relay has opened it for the first time."""
        deadline = time.monotonic() + UNCLAIMED_SECONDS
        while not await self._ownership.is_ours(stream):
            if hand.abandoned.is_set() or time.monotonic() > deadline:
                return False
            await first(hand.abandoned, seconds=0.1)
        return True

    async def _look(self, entry: Entry, hand: Hand) -> tuple[Standing, Document]:
        assert entry.sent
        deadline, seconds = time.monotonic() + UNMARKED_SECONDS, 0.001
        if hand.in_doubt:
            # What was committed may not be a majority's yet, and what is read below would not show it: it would be
            # handled again. After this answer it does.
            await self._work.looks.surely(entry.sent)
            hand.in_doubt = False
        while True:
            standing, document = await self._work.looks.look(entry.sent)
            if standing is not Standing.UNMARKED or time.monotonic() > deadline:
                return standing, document
            await first(hand.abandoned, seconds=seconds)
            seconds = min(0.01, 2 * seconds)

    async def _handle(self, entry: Entry, hand: Hand, document: Document, choose: Choose) -> End:
        assert entry.sent
        hand.about |= {"key": document.get("key"), "entry": entry.id}
        give_back = False
        try:
            self._may_begin(entry, hand)
            message = self._message(entry, document)
            if hand.suspect is not None:
                await self._work.locks.end_of(hand.suspect)
                if document.get("taker") != hand.taker and attempts.is_convicted(
                    message.attempt, document, entry.stream.retry
                ):
                    return await self._setbacks.die_of_deaths(entry, hand, document)
                try:
                    document = await self._put_on_record(entry, hand)
                except OperationFailure as refused:
                    if refused.code not in TOO_LARGE:
                        raise
                    reason = f"its worker {hand.suspect!r} died with it in flight"
                    return await self._setbacks.die_full(entry, hand, document, reason)
            if not await self._work.isolation.take_slot(hand, SLOT_SECONDS):
                give_back = True
                raise Abandoned
            try:
                self._may_begin(entry, hand)
                with counted(self._count, entry.stream.name, hand):
                    await self._work_on(entry, hand, message, choose)
            finally:
                self._work.isolation.release_slot(hand)
            return End.DONE
        except PyMongoError:
            hand.in_doubt = True
            raise
        except Superseded:
            # What the transaction met may not be a majority's yet, and be rolled back.
            match await self._work.looks.surely(entry.sent):
                case Standing.COMPLETED:
                    return End.DONE
                case Standing.WANTED | Standing.UNMARKED if not self._stop.is_set():
                    return End.HELD
                case Standing.WANTED | Standing.UNMARKED:
                    return await self._setbacks.give_back(entry, hand, document)
            return End.AGAIN
        except Paused:
            return await self._setbacks.give_back(entry, hand, document)
        except Abandoned:
            if not (give_back or self._stop.is_set()):
                return End.HELD
            return await self._setbacks.give_back(entry, hand, document)
        except Failed as failed:
            put_back = partial(self._setbacks.put_back, entry, hand, document, failed.error)
            # Repeated by itself, so that an outage now does not have the handler called again.
            return await self._patience.wait(put_back, self._late)

    def _may_begin(self, entry: Entry, hand: Hand) -> None:
        """To be asked after each wait for something. Raises Abandoned, or Paused: the pause came meanwhile."""
        if hand.abandoned.is_set():
            raise Abandoned
        if self._paused(entry.stream):
            raise Paused

    @staticmethod
    def _message(entry: Entry, document: Document) -> Message:
        """Raises Failed for a document that has been changed since it was published, so that it is no message now."""
        assert entry.sent
        try:
            return Message.of(document, entry.sent.attempt, entry.stream.subject)
        except InvalidMessage as error:
            raise Failed(GiveUp(str(error))) from error

    async def _work_on(self, entry: Entry, hand: Hand, message: Message, choose: Choose) -> None:
        try:
            handler = choose(message)
        except (GiveUp, LeftAlone) as error:
            raise Failed(error) from error
        hand.handler = handler.name
        if handler.seconds is not None:
            hand.limit_seconds = handler.seconds
        if handler.many and hand.suspect is None:
            if await self._batches.do(handler, entry.stream, message, hand):
                return
            self._may_begin(entry, hand)
        await self._work.do(handler, entry.stream, [message], hand)

    async def _put_on_record(self, entry: Entry, hand: Hand) -> Document:
        """Count the take-over of a message whose worker died, before its handler is called. Raises Superseded."""
        assert entry.sent
        assert hand.suspect is not None
        document = await attempts.take_over(self._database, entry.sent, hand.suspect, hand.taker)
        if document is None:
            standing, document = await self._work.looks.look(entry.sent)
            if standing not in (Standing.WANTED, Standing.UNMARKED):
                raise Superseded
        hand.on_record = True
        hand.told.warning(
            "its worker died with it in flight: handled alone", died=hand.suspect,
            tried=attempts.tries(entry.sent.attempt, document), of=entry.stream.retry.attempts,
        )  # fmt: skip
        return document

"""Work: one message's handler and its completion, as one transaction where the handler can use one.

A handler is never called for a message that has an outcome, and what it wrote never lasts unless its message is
completed by the same commit. It may be called more than once: after a conflict with another transaction, a failover, or
the end of its process.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future as ConcurrentFuture
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import pymongo
import structlog
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure, InvalidOperation, OperationFailure, PyMongoError

from outbox.database import OUTBOX, Database, Document, Place
from outbox.servers.disconnections import Disconnections
from outbox.servers.outages import classify
from outbox.servers.transaction import outcome_unknown
from outbox.streams.declaration import Stream
from outbox.worker.completion import (
    COMPLETION_SECONDS,
    TRANSACTION,
    Completions,
    Looks,
    Standing,
    Superseded,
    complete,
    refusals,
    sent_of,
)
from outbox.worker.failures import Failed, Unsettled
from outbox.worker.forms import Asynchronous, held_open, in_transaction, is_unanswered, refuse_unrun, still_open
from outbox.worker.hand import Abandoned, Hand
from outbox.worker.handler import Handler
from outbox.worker.isolation import Isolation
from outbox.worker.locks import Locks
from outbox.worker.message import Message
from outbox.worker.spans import handling
from outbox.worker.threads import Threads

log = structlog.get_logger(__name__)

CONFLICT_SECONDS = 120.0
"""For how long a handler is called again after its first conflict, before its message counts as failed."""

NO_SUCH_TRANSACTION = 251
ENDED_MOST = 3
"""How often in a row a handler is called again whose transaction had ended, though no server was lost. Of a short
handler it may be an operator's doing; else it is its own, and would be the same each time."""
LIFETIME_SECONDS = 60.0
"""How long a transaction may take, by the server's default: of a handler that took longer, it was that."""

_OF_A_TRANSACTION = frozenset({NO_SUCH_TRANSACTION, 257, 290, 388})
"""NoSuchTransaction, TransactionTooLarge, TransactionExceededLifetimeLimitSeconds, TransactionTooLargeForCache: of what
was written in one, or how long it took, which would be the same each time."""


class Work:
    """Calls handlers. `lend_sync` opens the client for plain ones, at their first call."""

    def __init__(
        self,
        client: AsyncMongoClient[Document],
        place: Place,
        lend_sync: Callable[[], AbstractContextManager[MongoClient[Document]]],
        locks: Locks,
        disconnections: Disconnections,
        *,
        threads: int,
        slots: int | None = None,
    ) -> None:
        """:param slots: how many handlers may be at work; by default as many as there are `threads`."""
        self._client = client
        self._database = Database(client, place)
        self._disconnections = disconnections
        self.threads = Threads(lend_sync, place, disconnections, threads)
        self.resources: Any = None
        """What the worker's lifespan has yielded, for handlers that take it."""
        self.left: set[asyncio.Future[Any] | ConcurrentFuture[Any]] = set()
        """Handlers that go on although nobody waits for them any more: threads, and tasks that swallow a cancellation.
        Nothing that they write through their session will last."""
        self.looks = Looks(self._database)
        self.locks = locks
        self.isolation = Isolation(slots or threads)
        self._completions: dict[str, Completions] = {}
        self._not_plain: set[Handler] = set()

    async def do(self, handler: Handler, stream: Stream, messages: Sequence[Message], hand: Hand) -> None:
        """Call the handler and complete the messages. When it returns, both have happened, to all of them.

        :raises Failed: the handler raised; nothing that it wrote through its session has lasted.
        :raises Superseded, Abandoned: nothing has lasted either.
        :raises PyMongoError: MongoDB was away, or refused the completion. It may all have happened: look again.
        """
        deadline, ended = float("inf"), 0
        for tried in itertools.count():
            began = time.monotonic()
            try:
                with self._span(stream, messages):
                    await self._handle(handler, stream, messages, hand)
            except Unsettled as error:
                raise Failed(error) from error
            except PyMongoError as error:
                if isinstance(error, ConnectionFailure) or outcome_unknown(error):
                    raise
                conflict = in_transaction(error)
                if conflict is None and not _comes_of(handler, error):
                    raise  # of the completion, which the server refuses at present, or of the commit
                ended = ended + 1 if handler.with_session and self._had_ended(error, began) else 0
                if ended and hand.abandoned.is_set():
                    raise Abandoned from error  # whoever has it by now has ended our transaction
                # The first may be an election, which the driver does not always notice.
                if ended > ENDED_MOST or (ended > 1 and time.monotonic() - began > LIFETIME_SECONDS):
                    raise Failed(InvalidOperation(_ENDED)) from error
                if ended == 1:
                    hand.told.warning("transaction ended before its handler returned, calling it again", why=_ENDED)
                if conflict is None or time.monotonic() > deadline:
                    raise Failed(error) from error
                deadline = min(deadline, time.monotonic() + CONFLICT_SECONDS)
            else:
                return
            if hand.suspect is not None:
                await self.locks.end_of(hand.suspect)
            rests, pause = time.monotonic(), random.uniform(0, min(0.5, 0.005 * 2 ** min(tried, 10)))
            await self.isolation.rest(hand, pause)
            deadline += time.monotonic() - rests - pause  # to wait for others to end is no conflict
            if hand.abandoned.is_set():
                raise Abandoned
            looks = await asyncio.gather(*(self.looks.look(sent_of(message)) for message in messages))
            if any(standing not in (Standing.WANTED, Standing.UNMARKED) for standing, _ in looks):
                raise Superseded  # that was the conflict

    def _had_ended(self, error: PyMongoError, began: float) -> bool:
        """Whether the transaction of a handler called at `began` had ended, as far as is known by no failover."""
        code = error.code if isinstance(error, OperationFailure) else None
        return code == NO_SUCH_TRANSACTION and not self._disconnections.since(began)

    @staticmethod
    def _span(stream: Stream, messages: Sequence[Message]) -> Any:
        if len(messages) > 1:
            return nullcontext()  # of many traces
        [message] = messages
        return handling(stream.name, message.headers, str(message.id), message.attempt)

    async def _handle(self, handler: Handler, stream: Stream, messages: Sequence[Message], hand: Hand) -> None:
        if hand.handled:
            await self._complete_after(stream, messages, hand)
            return
        if handler.plain and handler not in self._not_plain:
            try:
                await self._in_thread(handler, stream, messages, hand)
            except Asynchronous:
                log.info("handler returned an awaitable, calling it as async")
                self._not_plain.add(handler)
            else:
                if not handler.with_session:
                    await self._complete_after(stream, messages, hand)
                return
        if not handler.with_session:
            await self._as_task(hand, _called(handler, messages, None, self.resources))
            await self._complete_after(stream, messages, hand)
            return
        async with self._client.start_session() as session, await session.start_transaction(**TRANSACTION):
            began = time.monotonic()
            try:
                with held_open(session):
                    await self._as_task(hand, _called(handler, messages, session, self.resources))
            except Failed as failed:
                conflict = in_transaction(failed.error)
                if conflict and await self._has_failed(session, messages[0], conflict, began):
                    raise conflict from None
                raise
            still_open(session)
            with refusals():
                await complete(self._database, stream, messages, session)

    async def _complete_after(self, stream: Stream, messages: Sequence[Message], hand: Hand) -> None:
        """Complete messages whose handler used no transaction of ours."""
        hand.handled = True
        if (completions := self._completions.get(stream.name)) is None:
            completions = self._completions[stream.name] = Completions(self._database, stream)
        await asyncio.gather(*map(completions.complete, messages))

    async def _has_failed(
        self, session: AsyncClientSession, message: Message, error: PyMongoError, began: float
    ) -> bool:
        """Whether the handler's transaction has come to its end by an error.

        If not, the error is of another client's transaction. Nobody waits for that server, and calling the handler
        again and again would never end.
        """
        if not session.in_transaction:
            return False
        if isinstance(error, ConnectionFailure) and self._disconnections.since(began):
            return True
        if is_unanswered(session, error):
            return False
        try:
            with pymongo.timeout(COMPLETION_SECONDS):
                await self._database[OUTBOX].find_one({"_id": message.id}, {"_id": 1}, session=session)
        except PyMongoError:
            return True
        return False

    async def _in_thread(self, handler: Handler, stream: Stream, messages: Sequence[Message], hand: Hand) -> None:
        future = self.threads.begin(handler, stream, messages, hand, self.resources)
        try:
            await hand.run(asyncio.wrap_future(future))
        finally:
            if self._leave(future) and hand.thread_session:
                # Or what its transaction has written would be locked for as long as it goes on, or for a minute.
                with suppress(PyMongoError):
                    await self._client.admin.command("killSessions", [hand.thread_session])

    async def _as_task(self, hand: Hand, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(call)
        try:
            await hand.run(task)
        finally:
            self._leave(task)

    def _leave(self, work: asyncio.Future[Any] | ConcurrentFuture[Any]) -> bool:
        """Whether the handler goes on, although nobody waits for it any more."""
        if work.done():
            return False
        self.left.add(work)
        work.add_done_callback(self._left_has_ended)
        return True

    def _left_has_ended(self, work: asyncio.Future[Any] | ConcurrentFuture[Any]) -> None:
        self.left.discard(work)
        if not work.cancelled():
            work.exception()  # or the event loop complains that nobody asked


_ENDED = (
    "the transaction of the session had ended before the handler returned: it caught an error of a statement in it, "
    "any of which ends it (a DuplicateKeyError too: look first, or update_one with upsert=True), or took longer than "
    f"the server allows, {LIFETIME_SECONDS:g} s from the first statement: do the work first, then write"
)


def _comes_of(handler: Handler, error: PyMongoError) -> bool:
    """Whether an error of the completion or the commit is due to what the handler has done with its session."""
    code = error.code if isinstance(error, OperationFailure) else None
    return handler.with_session and (classify(error) is None or code in _OF_A_TRANSACTION)


async def _called(
    handler: Handler, messages: Sequence[Message], session: AsyncClientSession | None, resources: Any
) -> None:
    """Call the handler, and wait for what it returns, and for what that returns. Raises Failed for whatever it raises,
    but for a cancellation."""
    try:
        returned = handler.call(messages, session, resources)
        while inspect.isawaitable(returned) or isinstance(returned, ConcurrentFuture):
            returned = await (asyncio.wrap_future(returned) if isinstance(returned, ConcurrentFuture) else returned)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise Failed(error) from error
    refuse_unrun(returned)

"""Work: one message's handler and its completion, as one transaction where the handler can use one.

A handler is never called for a message that has an outcome, and what it wrote never lasts unless its message is
completed by the same commit. It may be called more than once: after a conflict with another transaction, a failover, or
the end of its process.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future as ConcurrentFuture
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pymongo
import structlog
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.database import Database as SyncDatabase
from pymongo.errors import ConnectionFailure, InvalidOperation, PyMongoError

from outbox.database import OUTBOX, Database, Document, Place, PlainDatabase
from outbox.message.document import Sent
from outbox.streams.declaration import Stream
from outbox.worker.completion import TRANSACTION, Standing, Superseded, complete, complete_sync, look
from outbox.worker.failures import Failed, Unsettled
from outbox.worker.hand import Abandoned, Hand
from outbox.worker.handler import Handler
from outbox.worker.message import Message
from outbox.worker.spans import handling

log = structlog.get_logger(__name__)

CONFLICT_SECONDS = 120.0
"""For how long a handler is called again after conflicts, before its message counts as failed."""
COMPLETION_SECONDS = 30.0


class Asynchronous(Exception):
    """A plain-looking handler returned an awaitable, in a thread, where nobody can await it."""


class Work:
    """Calls a handler with messages. `connect_sync` makes the client for plain handlers, at their first call."""

    def __init__(
        self,
        handler: Handler,
        client: AsyncMongoClient[Document],
        place: Place,
        connect_sync: Callable[[], MongoClient[Document]],
        *,
        threads: int,
    ) -> None:
        self._handler = handler
        self._client = client
        self._place = place
        self._database = Database(client, place)
        self._connect_sync = connect_sync
        self._sync: MongoClient[Document] | None = None
        self.left: set[asyncio.Future[Any] | ConcurrentFuture[Any]] = set()
        """Handlers that go on although nobody waits for them any more: threads, and tasks that swallow a cancellation.
        Nothing that they write through their session will last."""
        self._plain = handler.plain
        # Twice as many, so that one that is left has a substitute. A thread is started when it is needed.
        self._threads = ThreadPoolExecutor(2 * threads, "outbox-handler") if handler.plain else None

    async def do(self, stream: Stream, message: Message, hand: Hand) -> None:
        """Call the handler and complete the message. When it returns, both have happened.

        :raises Failed: the handler raised; nothing that it wrote through its session has lasted.
        :raises Superseded, Abandoned: nothing has lasted either.
        :raises PyMongoError: MongoDB was away. It may all have happened: look at the message again.
        """
        deadline = time.monotonic() + CONFLICT_SECONDS
        for tried in itertools.count():
            try:
                await self._once(stream, message, hand)
            except Unsettled as error:
                raise Failed(error) from error
            except PyMongoError as error:
                unknown = error.has_error_label("UnknownTransactionCommitResult")
                if isinstance(error, ConnectionFailure) or error.timeout or unknown:
                    raise
                if not _in_transaction(error) or time.monotonic() > deadline:
                    raise Failed(error) from error
            else:
                return
            await asyncio.sleep(random.uniform(0, min(0.5, 0.005 * 2 ** min(tried, 10))))
            standing, _ = await look(self._database, Sent(message.id, message.attempt))
            if standing not in (Standing.WANTED, Standing.UNMARKED):
                raise Superseded  # that was the conflict

    async def _once(self, stream: Stream, message: Message, hand: Hand) -> None:
        with handling(stream.name, message.headers, str(message.id), message.attempt):
            await self._handle(stream, message, hand)

    async def _handle(self, stream: Stream, message: Message, hand: Hand) -> None:
        if self._plain:
            try:
                await self._in_thread(hand, self._plainly(stream, message, hand))
            except Asynchronous:
                log.info("handler returned an awaitable, calling it as async")
                self._plain = False
            else:
                await self._complete_after(stream, message)
                return
        if not self._handler.with_session:
            await self._as_task(hand, _called(self._handler, message))
            await self._complete_after(stream, message)
            return
        async with self._client.start_session() as session, await session.start_transaction(**TRANSACTION):
            try:
                await self._as_task(hand, _called(self._handler, message, session))
            except Failed as failed:
                if _in_transaction(failed.error) and await self._is_gone(session, message):
                    raise failed.error from None
                raise
            _still_open(session)
            await complete(self._database, stream, message, session)

    async def _complete_after(self, stream: Stream, message: Message) -> None:
        """Complete a message whose handler used no transaction of ours."""
        if not self._handler.with_session:
            with pymongo.timeout(COMPLETION_SECONDS):
                await complete(self._database, stream, message, None)

    async def _is_gone(self, session: AsyncClientSession, message: Message) -> bool:
        """Whether the handler's transaction has come to its end by an error.

        If not, the error is of another client's transaction. Nobody waits for that server, and calling the handler
        again and again would never end.
        """
        if not session.in_transaction:
            return False
        try:
            with pymongo.timeout(COMPLETION_SECONDS):
                await self._database[OUTBOX].find_one({"_id": message.id}, {"_id": 1}, session=session)
        except PyMongoError:
            return True
        return False

    async def _in_thread(self, hand: Hand, work: Callable[[], None]) -> None:
        assert self._threads
        future = self._threads.submit(contextvars.copy_context().run, work)  # with the trace it belongs to
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

    def _plainly(self, stream: Stream, message: Message, hand: Hand) -> Callable[[], None]:
        """What is done in a thread."""
        if not self._handler.with_session:
            return lambda: _called_plainly(self._handler, message)
        if self._sync is None:
            self._sync = self._connect_sync()
        return lambda: self._transaction_sync(stream, message, hand)

    def _transaction_sync(self, stream: Stream, message: Message, hand: Hand) -> None:
        assert self._sync
        database = PlainDatabase(self._sync, self._place)
        with self._sync.start_session() as session, session.start_transaction(**TRANSACTION):
            hand.thread_session = session.session_id
            try:
                _called_plainly(self._handler, message, session)
            except Failed as failed:
                if _in_transaction(failed.error) and _is_gone_sync(database, session, message):
                    raise failed.error from None
                raise
            if hand.abandoned.is_set():
                raise Abandoned
            _still_open(session)
            complete_sync(database, stream, message, session)

    def close(self) -> None:
        """Close what was opened here. Threads that are still at work are left, and will not complete anything."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._sync:
            self._sync.close()


def _called_plainly(handler: Handler, message: Message, session: ClientSession | None = None) -> None:
    """Call the handler in this thread. Raises Failed for whatever it raises, or Asynchronous."""
    try:
        returned = handler.call(message, session)
    except BaseException as error:
        raise Failed(error) from error
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # nothing of it has run
        raise Asynchronous
    _refuse_generator(returned)


async def _called(handler: Handler, message: Message, session: AsyncClientSession | None = None) -> None:
    """Call the handler, and await what it returns. Raises Failed for whatever it raises, but for a cancellation."""
    try:
        returned = handler.call(message, session)
        if inspect.isawaitable(returned):
            returned = await returned
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise Failed(error) from error
    _refuse_generator(returned)


def _refuse_generator(returned: object) -> None:
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise Failed(TypeError("the handler returned a generator, nothing of which has run: return, do not yield"))


def _still_open(session: AsyncClientSession | ClientSession) -> None:
    if not session.in_transaction:
        raise Failed(
            InvalidOperation(
                "the handler ended the transaction of its session, which the message's completion is part of: "
                "write through the session, and leave commit and abort to the worker"
            )
        )


def _is_gone_sync(database: SyncDatabase[Document], session: ClientSession, message: Message) -> bool:
    """`Work._is_gone`, for a plain handler's transaction."""
    if not session.in_transaction:
        return False
    try:
        with pymongo.timeout(COMPLETION_SECONDS):
            database[OUTBOX].find_one({"_id": message.id}, {"_id": 1}, session=session)
    except PyMongoError:
        return True
    return False


def _in_transaction(error: BaseException) -> bool:
    """Whether the driver says of it that the whole transaction is to be repeated."""
    return isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError")

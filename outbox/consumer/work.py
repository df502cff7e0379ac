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
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pymongo
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure, PyMongoError

from outbox import traces
from outbox.checkpoint import Sent
from outbox.consumer.completion import TRANSACTION, Standing, Superseded, complete, complete_sync, look
from outbox.consumer.failures import Failed, Unsettled
from outbox.consumer.handler import Handler
from outbox.consumer.message import Message
from outbox.schema import Document
from outbox.streams import Stream

CONFLICT_SECONDS = 120.0
"""For how long a handler is called again after conflicts, before its message counts as failed."""
COMPLETION_SECONDS = 30.0


class Abandoned(Exception):
    """The entry is this consumer's no longer, or the consumer stops: nothing of this attempt may last."""


class Hand:
    """A message in hand. `abandon` may be called at any time, and once more changes nothing."""

    def __init__(self) -> None:
        self.abandoned = asyncio.Event()
        self.thread_session: Mapping[str, Any] | None = None

    def abandon(self) -> None:
        self.abandoned.set()

    async def run(self, work: asyncio.Future[Any]) -> None:
        """Wait for the handler. Raises Abandoned, then an async one has been cancelled, and a thread is left alone."""
        abandoned = asyncio.ensure_future(self.abandoned.wait())
        try:
            await asyncio.wait({work, abandoned}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                if isinstance(work, asyncio.Task):
                    await asyncio.gather(work, return_exceptions=True)
                raise Abandoned
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            abandoned.cancel()
        if work.cancelled():
            raise Failed(asyncio.CancelledError("the handler cancelled itself"))
        if error := work.exception():
            raise error


class Work:
    """Calls a handler with messages. `connect_sync` makes the client for plain handlers, at their first call."""

    def __init__(
        self,
        handler: Handler,
        client: AsyncMongoClient[Document],
        database: str,
        connect_sync: Callable[[], MongoClient[Document]],
        *,
        threads: int,
    ) -> None:
        self._handler = handler
        self._client = client
        self._database = database
        self._connect_sync = connect_sync
        self._sync: MongoClient[Document] | None = None
        self.left_threads = False
        self._threads = ThreadPoolExecutor(threads, "outbox-handler") if handler.plain else None

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
            standing, _ = await look(self._client[self._database], Sent(message.id, message.attempt))
            if standing not in (Standing.WANTED, Standing.UNMARKED):
                raise Superseded  # that was the conflict

    async def _once(self, stream: Stream, message: Message, hand: Hand) -> None:
        with traces.handling(stream.name, message.headers, str(message.id), message.attempt):
            await self._handle(stream, message, hand)

    async def _handle(self, stream: Stream, message: Message, hand: Hand) -> None:
        database = self._client[self._database]
        if not self._handler.with_session:
            await self._call(hand, message)
            with pymongo.timeout(COMPLETION_SECONDS):
                await complete(database, stream, message, None)
        elif self._handler.plain:
            if self._sync is None:
                self._sync = self._connect_sync()
            await self._in_thread(hand, lambda: self._transaction_sync(stream, message, hand))
        else:
            async with self._client.start_session() as session, await session.start_transaction(**TRANSACTION):
                await self._call(hand, message, session)
                await complete(database, stream, message, session)

    async def _call(self, hand: Hand, *arguments: Message | AsyncClientSession) -> None:
        if self._handler.plain:
            await self._in_thread(hand, lambda: _guarded(self._handler.call, *arguments))
        else:
            await hand.run(asyncio.ensure_future(_guarded_async(self._handler.call(*arguments))))

    async def _in_thread(self, hand: Hand, work: Callable[[], None]) -> None:
        assert self._threads
        future = self._threads.submit(contextvars.copy_context().run, work)  # with the trace it belongs to
        try:
            await hand.run(asyncio.wrap_future(future))
        except Abandoned:
            self.left_threads |= not future.done()
            if hand.thread_session:
                # Or what its transaction has written would be locked for as long as it goes on, or for a minute.
                with suppress(PyMongoError):
                    await self._client.admin.command("killSessions", [hand.thread_session])
            raise

    def _transaction_sync(self, stream: Stream, message: Message, hand: Hand) -> None:
        assert self._sync
        with self._sync.start_session() as session, session.start_transaction(**TRANSACTION):
            hand.thread_session = session.session_id
            _guarded(self._handler.call, message, session)
            if hand.abandoned.is_set():
                raise Abandoned
            complete_sync(self._sync[self._database], stream, message, session)

    def close(self) -> None:
        """Close what was opened here. Threads that are still at work are left, and will not complete anything."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._sync:
            self._sync.close()


def _guarded(call: Callable[..., Any], *arguments: Any) -> None:
    try:
        returned = call(*arguments)
    except (Exception, SystemExit) as error:
        raise _told_apart(error) from error
    if inspect.isawaitable(returned):
        raise Failed(TypeError("the handler returned an awaitable, and nobody awaits it: define it with `async def`"))


async def _guarded_async(call: Coroutine[Any, Any, Any]) -> None:
    try:
        await call
    except (Exception, SystemExit) as error:
        raise _told_apart(error) from error


def _told_apart(error: BaseException) -> BaseException:
    """The handler's own failure, or an error of the servers that met it by chance."""
    return error if isinstance(error, PyMongoError) and _in_transaction(error) else Failed(error)


def _in_transaction(error: PyMongoError) -> bool:
    """Whether the driver says of it that the whole transaction is to be repeated."""
    return error.has_error_label("TransientTransactionError")

"""Threads: plain handlers, called beside the event loop, with sessions of a client of their own."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.errors import ConnectionFailure, PyMongoError

from outbox.database import OUTBOX, Document, Place, PlainDatabase
from outbox.servers.disconnections import Disconnections
from outbox.streams.declaration import Stream
from outbox.worker.completion import COMPLETION_SECONDS, TRANSACTION, complete_sync, refusals
from outbox.worker.failures import Failed
from outbox.worker.forms import Asynchronous, held_open, in_transaction, is_unanswered, refuse_unrun, still_open
from outbox.worker.hand import Abandoned, Hand
from outbox.worker.handler import Handler
from outbox.worker.message import Message


class Threads:
    """Calls plain handlers. `lend` opens their client, at the first call that needs it."""

    def __init__(
        self,
        lend: Callable[[], AbstractContextManager[MongoClient[Document]]],
        place: Place,
        disconnections: Disconnections,
        count: int,
    ) -> None:
        self._lend = lend
        self._place = place
        self._disconnections = disconnections
        self._client: MongoClient[Document] | None = None
        self._opened = ExitStack()
        # Twice as many, so that one that is left has a substitute. A thread is started when it is needed.
        self._threads = ThreadPoolExecutor(2 * count, "outbox-handler")

    @property
    def client(self) -> MongoClient[Document]:
        """That of the sessions that plain handlers get."""
        if self._client is None:
            self._client = self._opened.enter_context(self._lend())
        return self._client

    def begin(
        self, handler: Handler, stream: Stream, messages: Sequence[Message], hand: Hand, resources: Any
    ) -> Future[None]:
        """Call the handler, and complete the messages if it takes a session.

        The future raises Failed for whatever the handler raises, Asynchronous, Abandoned, Superseded, PyMongoError.
        """
        if handler.with_session:
            self.client  # noqa: B018  # made here, and not by several threads
        # With the trace it belongs to.
        call = contextvars.copy_context().run
        return self._threads.submit(call, self._call, handler, stream, messages, hand, resources)

    def _call(self, handler: Handler, stream: Stream, messages: Sequence[Message], hand: Hand, resources: Any) -> None:
        if not handler.with_session:
            _called(handler, messages, None, resources)
            return
        client = self.client
        database = PlainDatabase(client, self._place)
        with client.start_session() as session, session.start_transaction(**TRANSACTION):
            hand.thread_session = session.session_id
            began = time.monotonic()
            try:
                with held_open(session):
                    _called(handler, messages, session, resources)
            except Failed as failed:
                conflict = in_transaction(failed.error)
                if conflict and self._has_failed(database, session, messages[0], conflict, began):
                    raise conflict from None
                raise
            if hand.abandoned.is_set():
                raise Abandoned
            still_open(session)
            with refusals():
                complete_sync(database, stream, messages, session)

    def _has_failed(
        self, database: PlainDatabase, session: ClientSession, message: Message, error: PyMongoError, began: float
    ) -> bool:
        """As `Work._has_failed`, for a plain handler's transaction."""
        if not session.in_transaction:
            return False
        if isinstance(error, ConnectionFailure) and self._disconnections.since(began):
            return True
        if is_unanswered(session, error):
            return False
        try:
            with pymongo.timeout(COMPLETION_SECONDS):
                database[OUTBOX].find_one({"_id": message.id}, {"_id": 1}, session=session)
        except PyMongoError:
            return True
        return False

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call something else in a thread of these."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        """Threads that are still at work are left, and will not complete anything."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._opened.close()


def _called(handler: Handler, messages: Sequence[Message], session: ClientSession | None, resources: Any) -> None:
    """Call the handler in this thread. Raises Failed for whatever it raises, or Asynchronous."""
    try:
        returned = handler.call(messages, session, resources)
        while isinstance(returned, Future):  # of a thread or process that it has left the work to
            returned = returned.result()
    except BaseException as error:
        raise Failed(error) from error
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # nothing of it has run
        raise Asynchronous
    refuse_unrun(returned)

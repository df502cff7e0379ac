"""The kit: one outbox on the servers of the tests, with a relay and a worker that a test moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any, overload

from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox import environment
from outbox.append import Outbox
from outbox.database import LENIENT, OUTBOX, Document, Place, PlainDatabase
from outbox.draft import ABSENT
from outbox.errors import NoSuchMessage
from outbox.servers.connections import connect_mongo, connect_mongo_sync
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Priority, Streams
from outbox.testing import clearing, clock
from outbox.testing.appended import IN_ORDER, Appended, query
from outbox.testing.background import Background
from outbox.testing.relay import Relay
from outbox.testing.worker import Worker
from outbox.worker.handlers import Handlers

AsyncHandler = Callable[..., Awaitable[Any]]
PlainHandler = Callable[..., None]


class Kit:
    """What a test sees and does. Made by `Servers.kit`, or by the fixture `outbox_kit`.

    Its methods are plain, and wait for some milliseconds each, in async tests too. Two give something to await, and run
    in the test's own event loop: a look through an async session, and what calls an async handler.

    A worker or relay of the service itself must not run beside it: `drain` and `work` are those.
    """

    def __init__(self, settings: OutboxSettings, streams: Streams, *, places: set[Place] | None = None) -> None:
        """Set up the outbox as `outbox init` does. `settings` are of the servers of the tests.

        :param places: shared by all kits of the same servers, so that none deletes what `outbox init` made for another.
        """
        self._places = set() if places is None else places
        self._places.add(settings.place)
        self.settings = settings
        """What the service would read from its environment, with the addresses of the servers of the tests."""
        with ExitStack() as opened:
            self.client: MongoClient[Document] = connect_mongo_sync(settings)
            """For plain code. Of the options that the guarantees rest on, as the library's own clients."""
            opened.callback(self.client.close)
            self._database = PlainDatabase(self.client, settings.place)
            self._background = Background()
            opened.callback(self._background.close)
            self._relay = self._background.call(Relay.start(settings, streams))
            opened.callback(lambda: self._background.call(self._relay.close()))
            self.streams: Streams = self._relay.streams
            """As they are registered, with those of priorities, shards and further groups."""
            self.outbox = Outbox(
                self.streams,
                database=settings.place.database,
                prefix=settings.place.prefix,
                max_message_bytes=settings.outbox_max_message_bytes,
            )
            self._worker = Worker(settings, self.streams)
            self._opened = opened.pop_all()
        self._handled: set[ObjectId] = set()
        """Since time was moved: what of these waits for its next try is not due by real time, which chance decides."""

    @property
    def environment(self) -> dict[str, str]:
        """For a service that reads its settings from the environment, or runs as a process of its own."""
        servers = environment.of_servers(self.settings.mongodb_uri.get_secret_value(), self.settings.redis_dsn)
        return servers | {
            "MONGODB_DATABASE": self.settings.mongodb_database,
            # Also where they are the usual ones: what is set to nothing is over what this process's environment has.
            "OUTBOX_DATABASE": self.settings.outbox_database or "",
            "OUTBOX_PREFIX": self.settings.outbox_prefix,
            "OUTBOX_REDIS_PREFIX": self.settings.outbox_redis_prefix,
        }

    def connect(self) -> AsyncMongoClient[Document]:
        """A new client for async code: `async with kit.connect() as client`."""
        return connect_mongo(self.settings)

    # -- what was appended

    @overload
    def appended(self, stream: str, *, key: str | None = None, session: None = None) -> list[Appended]: ...

    @overload
    def appended(self, stream: str, *, key: str | None = None, session: ClientSession) -> list[Appended]: ...

    @overload
    def appended(
        self, stream: str, *, key: str | None = None, session: AsyncClientSession
    ) -> Awaitable[list[Appended]]: ...

    def appended(
        self, stream: str, *, key: str | None = None, session: ClientSession | AsyncClientSession | None = None
    ) -> list[Appended] | Awaitable[list[Appended]]:
        """The messages of `stream`, those under `key` if it is given, as they were appended, whatever their state.

        Committed ones; with the `session` of an open transaction, those as well that it has appended itself. With an
        async session, await the answer.

        :raises UndeclaredStream: the stream is not declared.
        """
        wanted = query(self.streams, stream, key)
        if isinstance(session, AsyncClientSession):
            return self._appended(wanted, session)
        database = PlainDatabase(session.client, self.settings.place) if session else self._database
        messages = database[OUTBOX].with_options(codec_options=LENIENT)
        return [Appended.of(document) for document in messages.find(wanted, session=session).sort(IN_ORDER)]

    async def _appended(self, wanted: Document, session: AsyncClientSession) -> list[Appended]:
        name = self._database[OUTBOX].name
        messages = session.client[self.settings.place.database].get_collection(name, codec_options=LENIENT)
        return [Appended.of(document) async for document in messages.find(wanted, session=session).sort(IN_ORDER)]

    def look(self, message: Appended | ObjectId) -> Appended:
        """The message as it is now. Raises NoSuchMessage."""
        id_ = message.id if isinstance(message, Appended) else message
        document = self._database[OUTBOX].with_options(codec_options=LENIENT).find_one({"_id": id_})
        if document is None:
            raise NoSuchMessage(f"message {id_} is not in the outbox")
        return Appended.of(document)

    def append(
        self,
        stream: str,
        fields: Mapping[str, str],
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        priority: str = Priority.NORMAL,
        subject: object = ABSENT,
        unique: str | None = None,
    ) -> Appended:
        """Append a message in a transaction of its own, as the service that a handler gets its messages from.

        Raises what `Outbox.append` does.
        """
        with self.client.start_session() as session, session.start_transaction():
            id_ = self.outbox.append(
                session,
                stream,
                fields,
                key=key,
                headers=headers,
                priority=priority,
                subject=subject,
                unique=unique,
            )
        return self.look(id_)

    # -- by hand

    def drain(self) -> int:
        """As a relay does: publish what is due. Returns how many messages were published."""
        return self._background.call(self._relay.drain(self._handled))

    @overload
    def run(
        self,
        handler: AsyncHandler,
        message: Appended,
        *,
        client: AsyncMongoClient[Document] | None = None,
        resources: object = None,
    ) -> Awaitable[Appended]: ...

    @overload
    def run(self, handler: PlainHandler, message: Appended, *, resources: object = None) -> Appended: ...

    def run(
        self,
        handler: Callable[..., Any],
        message: Appended,
        *,
        client: AsyncMongoClient[Document] | None = None,
        resources: object = None,
    ) -> Appended | Awaitable[Appended]:
        """Call the handler once with the message, published or not, in one transaction with its completion.

        Returns the message, which is completed then. With an async handler, await the answer.

        :param client: whose session an async handler gets; by default one for this call.
        :param resources: what a worker's lifespan would yield.
        :raises UsageError: the message has an outcome already, or is not due yet; see `advance`.

        What the handler raises is raised, and nothing that it wrote through its session has lasted.
        """
        handlers = Handlers.of(handler)
        if not all(one.plain for one in handlers):
            return self._run(handlers, message, client, resources)
        self._background.call(self._worker.run(handlers, message.id, None, resources))
        return self.look(message)

    async def _run(
        self, handlers: Handlers, message: Appended, client: AsyncMongoClient[Document] | None, resources: object
    ) -> Appended:
        await self._worker.run(handlers, message.id, client, resources)
        return self.look(message)

    @overload
    def work(
        self,
        handler: AsyncHandler,
        *streams: str,
        client: AsyncMongoClient[Document] | None = None,
        resources: object = None,
    ) -> Awaitable[list[Appended]]: ...

    @overload
    def work(self, handler: PlainHandler, *streams: str, resources: object = None) -> list[Appended]: ...

    @overload
    def work(
        self,
        handler: Handlers,
        *streams: str,
        client: AsyncMongoClient[Document] | None = None,
        resources: object = None,
    ) -> Any: ...

    def work(
        self,
        handler: Callable[..., Any] | Handlers,
        *streams: str,
        client: AsyncMongoClient[Document] | None = None,
        resources: object = None,
    ) -> list[Appended] | Awaitable[list[Appended]]:
        """As a relay and a worker do, until nothing is left: publish what is due, and call the handler with each.

        Returns the messages in the order of the calls, each as it is after all of them. What fails waits for its next
        try until `advance`, however short its backoff, and is dead after its last: see `state` and `last_error`. What a
        handler appends to these streams is handled too. With an async handler, await the answer; of `Handlers`, if one
        of them is async.

        :param streams: their names; by default all.
        :param client: whose sessions async handlers get; by default one for this call.
        :param resources: what a worker's lifespan would yield.
        :raises UndeclaredStream: a stream is not declared.
        :raises AssertionError: after 1,000 messages there is still something left, since handlers append for ever.
        """
        handlers = Handlers.of(handler)
        if not all(one.plain for one in handlers):
            return self._work(handlers, streams, client, resources)
        drain = partial(self._relay.drain, self._handled)
        work = self._worker.work(handlers, streams, drain, self._handled, None, resources)
        return [self.look(id_) for id_ in self._background.call(work)]

    async def _work(
        self,
        handlers: Handlers,
        streams: tuple[str, ...],
        client: AsyncMongoClient[Document] | None,
        resources: object,
    ) -> list[Appended]:
        async def drain() -> int:
            return await asyncio.wrap_future(self._background.submit(self._relay.drain(self._handled)))

        work = self._worker.work(handlers, streams, drain, self._handled, client, resources)
        return [self.look(id_) for id_ in await work]

    def advance(self, **time: float) -> None:
        """Let so much time go by for the outbox, as in `advance(minutes=5)`; any argument of `timedelta`.

        What waits for its time or its next try is due that much sooner, and all messages are that much older. The
        clocks of MongoDB, of Redis and of this process stay as they are.
        """
        clock.advance(self._database, timedelta(**time))
        self._handled.clear()

    def reset(self) -> None:
        """Delete what was written to both servers, by anybody: the application's documents as well, but no index.

        No stream is paused afterwards. Between two tests, the fixture does the same.
        """
        self._background.call(self._relay.forget())
        self._handled.clear()
        clearing.clear(self.client, self.settings, self._places)

    def register(self) -> None:
        """Register its streams anew, where a kit that declares others was in use since."""
        self._background.call(self._relay.register())

    def close(self) -> None:
        self._opened.close()

"""The consumer: a worker's reading and processing, as one object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from outbox.errors import UsageError
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Stream
from outbox.worker.handler import Handler
from outbox.worker.handlers import Handlers
from outbox.worker.intake import Intake
from outbox.worker.lifespan import Lifespan
from outbox.worker.naming import new_name
from outbox.worker.processing import Options, Processing, opened
from outbox.worker.reading import in_order
from outbox.worker.tries import Count, harmless

log = structlog.get_logger(__name__)

BATCH = 10
MANY = 200
"""The same for handlers that take many."""


class Consumer:
    """Applies each message of some streams once: its handler's writes and its completion are one transaction.

    Any number of consumers may read the same streams, and other workers beside them:

        consumer = Consumer(settings, handle)
        await consumer.run()            # until consumer.stop()
    """

    def __init__(
        self,
        settings: OutboxSettings,
        handler: Callable[..., Any] | Handler | Handlers,
        *,
        streams: Sequence[Stream | str] | None = None,
        group: str | None = None,
        order: Callable[[], Sequence[Stream]] | None = None,
        name: str | None = None,
        concurrency: int | None = None,
        batch: int | None = None,
        silent_seconds: float = 30.0,
        stop_seconds: float = 25.0,
        handler_seconds: float | None = None,
        own_process: bool = False,
        lifespan: Lifespan | None = None,
        count: Count | None = None,
    ) -> None:
        """Connects to nothing yet.

        :param handler: `handle(message, session)`, plain or async. With `handle(message)`, it is called at least once
            for each message, and the message is completed after it. With `handle(messages, session)`, many are applied
            in one transaction, and one by one when that fails. `Handlers` choose by the value of a field.
        :param streams: those to read, or names, each with its priorities and shards; by default all that the settings
            declare; if they declare none, those that are registered for `group`, or the only one that is. As they are
            registered in the database, when it is reached.
        :param group: of the streams' groups, the one to read as; needed where a stream is declared with several.
        :param order: called before each read: the streams in the order to look; by default urgent ones mostly first,
            and so when it fails, of which the first time is logged. When it names none, nothing is read, and it is
            called again a second later.
        :param name: of this consumer in the group; by default a new one at each start.
        :param concurrency: how many messages are worked on at a time; 10, or twice `batch` where a handler takes many.
        :param batch: how many entries one read takes, at most, and how many messages a handler that takes many; 10, or
            200 for such a handler.
        :param silent_seconds: after which another consumer that gives no sign of life is taken for dead, and its
            entries are taken over. Each gives three in that time.
        :param stop_seconds: from `stop` until what is still worked on is given back.
        :param handler_seconds: how long one call of the handler may take, instead of what each stream declares; 0 is no
            limit. After it, an async one is cancelled, a thread is left, and the attempt has failed.
        :param own_process: nothing else is done in this process, so it may be killed when a handler has let nothing
            else run for longer than it may take. Without, its entries are left to others then.
        :param lifespan: an async context manager, called with the client that sessions belong to, an AsyncMongoClient,
            and entered before the first message. Handlers with a parameter `resources` get what it yields. A plain one
            is called with the MongoClient of plain handlers, and entered in a thread.
        :param count: is called with each try that has ended: its stream, its handler, how, and after how many seconds.
            Its first error is logged, and none changes anything.
        :raises UsageError: the handler cannot be called with a message, or takes resources that there are not.
        """
        self._settings = settings
        self._handlers = Handlers.of(handler)
        if lifespan is None and any(handler.with_resources for handler in self._handlers):
            raise UsageError("a handler takes resources, and there is no lifespan that yields them")
        many = any(handler.many for handler in self._handlers)
        batch = batch or (MANY if many else BATCH)
        self._options = Options(
            streams=streams, group=group, name=new_name(name), batch=batch,
            concurrency=concurrency or (2 * batch if many else BATCH),
            silent_seconds=silent_seconds, stop_seconds=stop_seconds, handler_seconds=handler_seconds,
            own_process=own_process, count=count and harmless(count),
        )  # fmt: skip
        self._lifespan = lifespan
        self._given_order = order
        self._stop = asyncio.Event()
        self.processing: Processing | None = None
        """What is in flight, as soon as both servers have been reached."""

    @property
    def name(self) -> str:
        """Of this consumer in its groups."""
        return self._options.name

    def stop(self) -> None:
        """Take nothing new, finish what is in hand or give it back, and let `run` return."""
        self._stop.set()
        if self.processing:
            self.processing.end()

    @property
    def left_handlers(self) -> int:
        """How many handlers are still at work though nobody waits for them: time was up, or they were given back."""
        return len(self.processing.work.left) if self.processing else 0

    def limit_of(self, stream: Stream) -> float:
        """How long one call of the handler may take for a message of `stream`, in seconds; 0 is no limit."""
        return self._options.limit_of(stream)

    async def run(self) -> None:
        """Work until `stop`, through outages of both servers.

        :raises TooManyLeft: as many handlers as it works on at a time did not end when their time was up.
        :raises ForeignStream: a stream belongs to another outbox, whose entries are left as they are.
        :raises SchemaError: the database has no outbox; its kind WrongDeclaration, when the settings, or `streams`, say
            something else of a stream than is registered.
        :raises UndeclaredGroup: a stream is not declared for the group.
        """
        opening = opened(self._settings, self._options, self._handlers, self._lifespan, stop=self._stop)
        async with opening as processing:
            if processing is None:
                return
            self.processing = processing
            names = [stream.name for stream in processing.streams]
            log.info("worker started", consumer=self.name, streams=names, concurrency=self._options.concurrency)
            intake = Intake(processing, in_order(processing.streams, self._given_order))
            async with processing.signs_of_life():
                await intake.run()
            log.info("worker stopped", consumer=self.name)
        if processing.failure:
            raise processing.failure

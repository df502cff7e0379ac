"""The worker of a FastStream application: makes subscribers whose messages our consumer reads and completes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from faststream._internal.broker.registrator import Registrator as Registering
from faststream.redis import RedisBroker, RedisRouter
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.errors import UndeclaredStream
from outbox.faststream.subscriber import OutboxSubscriber
from outbox.settings import OutboxSettings, load
from outbox.worker.message import Message

Registrator = RedisBroker | RedisRouter


class OutboxWorker:
    """Makes subscribers for streams of the outbox: `@worker.subscriber("orders")`.

    Each has a `Consumer` of its own while the broker runs, with all that `outbox worker` promises.
    """

    def __init__(self, broker: Registrator, settings: OutboxSettings | None = None, **options: Any) -> None:
        """:param settings: by default, those of the environment when the first is needed. A test may set others.
        :param options: of each `Consumer`, such as `concurrency` and `stop_seconds`.
        """
        self._broker = broker
        self._settings = settings
        self._options = options
        self._subscribers: dict[str, OutboxSubscriber] = {}

    def subscriber(
        self, stream: str, *, title: str | None = None, description: str | None = None, **options: Any
    ) -> OutboxSubscriber:
        """FastStream's decorator, for handlers of `stream` with its priorities and shards.

        Filters, parsers, decoders, dependencies and middlewares are FastStream's own. A handler may ask for a `Session`
        and a `CurrentMessage`.

        :param title: in the AsyncAPI document; and so `description`.
        :param options: of this subscriber's `Consumer`, over those of the worker: `group` where the stream is declared
            with several.
        """
        made = OutboxSubscriber(
            self, self._broker, stream, {**self._options, **options}, title=title, description=description
        )
        Registering.subscriber(self._broker, made)
        self._subscribers[stream] = made
        return made

    @cached_property
    def settings(self) -> OutboxSettings:
        return self._settings or load(OutboxSettings)

    async def handle(self, message: Message, session: AsyncClientSession) -> None:
        """Give one message to its subscriber, while the broker runs; for tests under TestRedisBroker."""
        for name in sorted(self._subscribers, key=len, reverse=True):
            if f"{message.stream}:".startswith(f"{name}:"):
                await self._subscribers[name].handle(message, session)
                return
        raise UndeclaredStream(f"no subscriber reads stream {message.stream!r}")

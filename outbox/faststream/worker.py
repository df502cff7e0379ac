"""The worker of a FastStream application: makes subscribers whose messages our consumer reads and completes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

from faststream._internal.broker.registrator import Registrator as Registering
from faststream.redis import RedisBroker, RedisRouter
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.errors import UndeclaredStream, UsageError
from outbox.faststream.subscriber import OutboxSubscriber
from outbox.servers.connections import open_database
from outbox.settings import OutboxSettings, load
from outbox.streams import registry
from outbox.streams.declaration import Stream
from outbox.worker.consumer import Consumer
from outbox.worker.message import Message

if TYPE_CHECKING:
    from fast_depends.dependencies import Dependant
    from faststream._internal.types import CustomCallable

Registrator = RedisBroker | RedisRouter

_OF_CONSUMER = {
    name for name, one in inspect.signature(Consumer).parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY
} - {"streams"}
_OF_FASTSTREAM = {"title", "description", "parser", "decoder", "dependencies"}


class OutboxWorker:
    """Makes subscribers for streams of the outbox: `@worker.subscriber("orders")`.

    Each has a `Consumer` of its own while the broker runs, with all that `outbox worker` promises.
    """

    def __init__(self, broker: Registrator, settings: OutboxSettings | None = None, **options: Any) -> None:
        """:param settings: by default, those of the environment when the first is needed. A test may set others.
        :param options: of each `Consumer`, such as `concurrency` and `stop_seconds`.
        :raises UsageError: there is no such option.
        """
        _refuse_unknown(options, _OF_CONSUMER)
        self._broker = broker
        self._settings = settings
        self._options = options
        self._made: dict[tuple[str, str | None], OutboxSubscriber] = {}

    def subscriber(
        self,
        stream: str,
        *,
        title: str | None = None,
        description: str | None = None,
        parser: CustomCallable | None = None,
        decoder: CustomCallable | None = None,
        dependencies: Sequence[Dependant] = (),
        **options: Any,
    ) -> OutboxSubscriber:
        """FastStream's decorator, for handlers of `stream` with its priorities and shards.

        Filters, parsers, decoders, dependencies and middlewares are FastStream's own. A handler may ask for a `Session`
        and a `CurrentMessage`.

        :param title: in the AsyncAPI document; and so `description`.
        :param parser: as FastStream's; and so `decoder` and `dependencies`.
        :param options: of this subscriber's `Consumer`, over those of the worker: `group` where the stream is declared
            with several.
        :raises UsageError: there is no such option, or a subscriber of this stream and group already.
        """
        _refuse_unknown(options, _OF_CONSUMER | _OF_FASTSTREAM)
        options = {**self._options, **options}
        named = stream, options.get("group")
        if named in self._made:
            raise UsageError(
                f"there is a subscriber of stream {stream!r} already, and each message would go to only one of them: "
                "use that one for both handlers, with a filter, or declare the stream with further groups"
            )
        made = OutboxSubscriber(self, self._broker, stream, options, title=title, description=description)
        Registering.subscriber(self._broker, made)
        self._made[named] = made
        return made.add_call(
            parser_=parser or self._broker._parser,
            decoder_=decoder or self._broker._decoder,
            dependencies_=dependencies,
        )

    @cached_property
    def settings(self) -> OutboxSettings:
        return self._settings or load(OutboxSettings)

    async def handle(self, message: Message, session: AsyncClientSession) -> None:
        """Give one message to its subscriber, while the broker runs; for tests under TestRedisBroker."""
        made = await self._subscriber_of(message.stream, session)
        if made is None:
            raise UndeclaredStream(f"no subscriber reads stream {message.stream!r}")
        if any(call.parser is None for call in made.calls):
            raise UsageError("the broker was not started: use `async with TestRedisBroker(broker):` around the test")
        await made.handle(message, session)

    async def _subscriber_of(self, stream: str, session: AsyncClientSession) -> OutboxSubscriber | None:
        """The one that is nearest by its name, of the group that the stream is for. Which group that is, and which is
        meant where a subscriber names none, is what is registered; where nothing is, a further group is in the name.
        """
        database = open_database(session.client, self.settings.place)
        registered: Mapping[str, Stream] = await registry.read(database) or {}
        there, whole = registered.get(stream), f"{stream}:"

        def nearness(each: tuple[str, str | None]) -> tuple[bool, int]:
            name, group = each
            return whole.startswith(f"{name}:{group}:"), len(name)

        readers = {(made.stream_sub.name, group): made for (_, group), made in self._made.items()}
        for name, group in sorted(readers, key=nearness, reverse=True):
            read_as = registered[name].group if group is None and name in registered else group
            if whole.startswith(f"{name}:") and (there is None or read_as in (None, there.group)):
                return readers[name, group]
        return None


def _refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
            raise UsageError(f"{name} is no option of a subscriber; {hint}")

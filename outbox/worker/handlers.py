"""Handlers chosen by the value of a field, for a stream whose messages ask for work of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

from outbox.errors import UsageError
from outbox.worker.failures import GiveUp, LeftAlone
from outbox.worker.handler import Handler, find
from outbox.worker.message import Message

F = TypeVar("F", bound=Callable[..., Any])
Unknown = Literal["dead", "left alone"]


class Handlers:
    """The handler of each message is chosen by one of its fields:

        handlers = Handlers("kind", unknown="left alone")

        @handlers.on("resize", seconds=60)
        async def resize(message, session): ...

    Given to a Consumer, or named by `outbox worker --handler MODULE:handlers`.
    """

    def __init__(self, field: str, *, unknown: Unknown) -> None:
        """:param unknown: what becomes of a message whose field has another value, or is not there. `dead`: it is dead
        at once, and can be retried when there is a handler for it. `left alone`: it is put back, at no try's cost, for
        a worker that knows it, and comes again every minute; for workers of several versions side by side.
        :raises UsageError: `unknown` is neither.
        """
        if unknown not in ("dead", "left alone"):
            raise UsageError(f'Handlers({field!r}, unknown={unknown!r:.40}): unknown is "dead" or "left alone"')
        self.field = field
        self._unknown = unknown
        self._by_value: dict[str | None, Handler] = {}

    @classmethod
    def of(cls, handler: Callable[..., Any] | Handler | Handlers) -> Handlers:
        """Of one handler, which takes every message. Raises UsageError when it cannot be called as a handler."""
        if isinstance(handler, Handlers):
            if not handler._by_value:
                raise UsageError(f'Handlers({handler.field!r}) has no handler: add one by @handlers.on("value")')
            return handler
        only = cls("", unknown="dead")
        only._by_value[None] = handler if isinstance(handler, Handler) else Handler.of(handler)
        return only

    def on(self, value: str, *, seconds: float | None = None) -> Callable[[F], F]:
        """A decorator: the function handles messages whose field has this value.

        :param seconds: how long one call may take, instead of what the stream or the worker allows; 0 is no limit.
        :raises UsageError: there is a handler for it, or the function cannot be called as one.
        """
        if value in self._by_value:
            raise UsageError(f"there are two handlers for {self.field}={value!r}")

        def added(function: F) -> F:
            self._by_value[value] = Handler.of(function, seconds)
            return function

        return added

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._by_value.values())

    def choose(self, message: Message) -> Handler:
        """The handler for a message. Raises GiveUp or LeftAlone, as was declared, when there is none."""
        if not self.field:
            return self._by_value[None]
        value = message.fields.get(self.field)
        if found := self._by_value.get(value):
            return found
        known = ", ".join(sorted(filter(None, self._by_value)))
        reason = f"no handler for {self.field}={value!r:.80}; this worker has some for: {known:.500}"
        raise GiveUp(reason) if self._unknown == "dead" else LeftAlone(reason)


def load(name: str) -> Handlers:
    """The handler, or the handlers, called `MODULE:NAME`, looked for in the current folder too. Raises UsageError."""
    return Handlers.of(find(name))

"""Gates: a relay's requests to its servers wait until they are let go, one at a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect
from redis.exceptions import ConnectionError as RedisConnectionError

SECONDS = 60.0
"""After so long without a next request, a relay is taken to hang."""

Refuse = Callable[[Mapping[str, Any]], bool]


class Request:
    """A call that a relay is about to make; it waits for `future`."""

    def __init__(self, name: str, args: Mapping[str, Any], run: Callable[[], Awaitable[Any]]) -> None:
        self.name = name
        self.args = args
        self.run = run
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(self, outcome: Any) -> None:
        """Let the caller go on, with a result or an exception. It may be gone."""
        if self.future.done():
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def give_up(self) -> None:
        """Its reply is lost, and perhaps the request; to the caller it is the same."""
        error = RedisConnectionError if self.name.startswith("checkpoints.") else AutoReconnect
        self.answer(error(f"{self.name} was given up"))


class Gate:
    """Where the requests of one relay arrive."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Request] = asyncio.Queue()

    async def enter(self, name: str, args: Mapping[str, Any], run: Callable[[], Awaitable[Any]]) -> Any:
        request = Request(name, args, run)
        self._arrived.put_nowait(request)
        return await request.future

    async def next(self, running: asyncio.Future[Any]) -> Request | None:
        """The next request; None when `running` has ended before there was one. Raises TimeoutError."""
        arrival = asyncio.ensure_future(self._arrived.get())
        await asyncio.wait({arrival, running}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if arrival.done():
            return arrival.result()
        arrival.cancel()
        with suppress(asyncio.CancelledError):
            await arrival
        if not running.done():
            raise TimeoutError("a relay neither ends nor sends anything")
        return None


class Gated:
    """An object some of whose methods are requests, which wait at a gate."""

    def __init__(self, inner: Any, name: str, gate: Gate, gated: Mapping[str, Refuse | None]) -> None:
        """:param gated: methods by `name.method`, each perhaps with what must be true for it to be a request."""
        self._inner, self._name, self._gate, self._gated = inner, name, gate, gated

    def __getattr__(self, name: str) -> Any:
        method, full = getattr(self._inner, name), f"{self._name}.{name}"
        if full not in self._gated:
            return method
        condition, signature = self._gated[full], inspect.signature(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs).arguments
            if condition and not condition(bound):
                return await method(*args, **kwargs)
            return await self._gate.enter(full, bound, lambda: method(*args, **kwargs))

        async def pages(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            await self._gate.enter(full, signature.bind(*args, **kwargs).arguments, _nothing)
            async for page in method(*args, **kwargs):
                yield page

        return pages if inspect.isasyncgenfunction(method) else call


async def _nothing() -> None:
    pass


class LastingSessions:
    """A client whose sessions go on after their end: a request that was given up is executed in its own."""

    def __init__(self, client: AsyncMongoClient[Any]) -> None:
        self._client = client
        self._sessions: list[Any] = []

    def start_session(self, **options: Any) -> Any:
        session: Any = self._client.start_session(**options)
        session.end_session = _nothing
        self._sessions.append(session)
        return session

    async def close(self) -> None:
        for session in self._sessions:
            await type(session).end_session(session)

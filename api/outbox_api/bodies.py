"""Bodies that have an end: counted while they come, and given up when nothing comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from outbox_api.access import Requires
from outbox_api.errors import BodyStalled, BodyTooLarge, ClientGone
from outbox_api.state import State

LINGER_SECONDS = 30.0
LINGER_BYTES = 4 * 1024**3
WHOLE = 2.0
"""How many times `api_idle_seconds` a body of JSON or a form may take. An upload may take as long as bytes come."""


def limited(request: Request, limit: int, idle_seconds: float, whole_seconds: float | None = None) -> Request:
    """The same request, whose body may have `limit` bytes, pause for `idle_seconds`, and take `whole_seconds` in all.

    Reading raises BodyTooLarge (at once when Content-Length tells), BodyStalled, or ClientGone.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(limit)
    size = 0
    ends = None if whole_seconds is None else asyncio.get_running_loop().time() + whole_seconds

    async def receive() -> Message:
        nonlocal size
        try:
            # A byte now and then is no pause, and would keep a connection for ever.
            async with asyncio.timeout_at(ends), asyncio.timeout(idle_seconds):
                message = await request.receive()
        except TimeoutError:
            raise BodyStalled(idle_seconds) from None
        if message["type"] == "http.disconnect":
            raise ClientGone("the client left before its body was complete") from ClientDisconnect()
        size += len(message.get("body", b""))
        if size > limit:
            raise BodyTooLarge(limit)
        request.state.body_read = not message.get("more_body", False)
        return message

    return Request(request.scope, receive)


def is_unread(request: Request) -> bool:
    """Whether some of the body has not been read."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return has_body and not request.scope.get("state", {}).get("body_read", False)


class EarlyResponse(Response):
    """An answer given before the body was read to its end, after which the connection is closed.

    Not at once: to close a connection on which bytes still come resets it, and the client, busy sending, would never
    see why. So what still comes is thrown away for a while.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _throw_away(receive)
        await send({"type": "http.response.body"})


async def _throw_away(receive: Receive) -> None:
    seen = 0
    while seen < LINGER_BYTES:
        message = await receive()
        seen += len(message.get("body", b""))
        if not message.get("more_body", False):  # the end of the body, or the client has left
            return


class JsonRoute(APIRoute):
    """A route that takes JSON, of `api_max_body_bytes` at most. FastAPI itself reads any body to its end."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        guards = [d.dependency for d in self.dependencies if isinstance(d.dependency, Requires)]

        async def handle_limited(request: Request) -> Response:
            state: State = request.state.api
            for guard in guards:  # FastAPI asks them, too, but only once it has the body
                await guard.check(request)
            idle = state.settings.api_idle_seconds
            request = limited(request, state.settings.api_max_body_bytes, idle, WHOLE * idle)
            # Read here, where our errors stay what they are: FastAPI makes any error of reading a plain 400.
            await request.body()
            return await handle(request)

        return handle_limited

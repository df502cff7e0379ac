"""Bodies that have an end: counted while they come, and given up when nothing comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message

from api.errors import BodyStalled, BodyTooLarge, ClientGone
from api.state import State


def limited(request: Request, limit: int, idle_seconds: float) -> Request:
    """The same request, whose body may have `limit` bytes and pause for `idle_seconds`.

    Reading raises BodyTooLarge (at once when Content-Length tells), BodyStalled, or ClientGone.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(limit)
    size = 0

    async def receive() -> Message:
        nonlocal size
        try:
            async with asyncio.timeout(idle_seconds):
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


class JsonRoute(APIRoute):
    """A route that takes JSON, of `api_max_body_bytes` at most. FastAPI itself reads any body to its end."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_limited(request: Request) -> Response:
            state: State = request.state.api
            request = limited(request, state.settings.api_max_body_bytes, state.settings.api_idle_seconds)
            # Read here, where our errors stay what they are: FastAPI makes any error of reading a plain 400.
            await request.body()
            return await handle(request)

        return handle_limited

"""The end of OUTBOX_API_STOP_SECONDS: who still waits for an answer is told that the outcome is not known."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outbox_api import problems


class Stopping:
    """Answers 503 in the place of `app` when the server cancels a request, as it does when its time to stop is over.

    The server itself would answer with a plain 500, and log a traceback for each. It cancels nothing else: that a
    client has left, `app` is told by what it receives.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def observed(message: Message) -> None:
            nonlocal begun
            await send(message)
            begun = True

        try:
            await self._app(scope, receive, observed)
        except asyncio.CancelledError:
            # Not raised again: it would be logged as a defect. An answer that has begun, the server cuts off.
            if not begun:
                # What cannot be sent at once is not waited for: the process ends.
                with suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await problems.cut_off(scope)(scope, receive, send)

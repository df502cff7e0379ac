"""By which names an API may be called that asks nobody for a key."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from outbox_api import problems

OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?")


class OwnNames:
    """Refuses what calls `app` by another name than these.

    A page of another site can call this machine by a name of its own, and then read what it likes from an open door.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._names = list(dict.fromkeys(name.lower() for name in names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = _HOST.fullmatch(Headers(scope=scope).get("host", "").lower())
            if host is None or host[1] not in self._names:
                answer = await problems.other_host(scope, self._names)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

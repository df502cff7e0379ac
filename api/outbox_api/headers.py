"""Headers that tell browsers what an answer may do. None may do more than it needs."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""For data: shown in a browser, it loads nothing, runs nothing, sends nothing."""

OWN_PAGES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""For our pages: files of this server alone, and nothing that stands in the page itself."""

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it, a browser sends the forms of our own pages with `Origin: null`, and over plain HTTP
    # without Sec-Fetch-Site. Nothing could tell them from those of another site.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": NOTHING,
}

_PUBLIC = ("/docs", "/openapi.json", "/dashboard/static/")


class SecurityHeaders:
    """Puts them on every answer of `app` that has no stricter or wider ones of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith(_PUBLIC):
                    # What one caller may see must not be shown to the next from a cache on the way.
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)

"""The relay's own HTTP: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from outbox.web.http11 import Http
from outbox_relay.metrics import CONTENT_TYPE, Metrics


class Probes(uvicorn.Server):
    """Serves the probes inside the relay's event loop. Signals are the relay's own affair."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Answer what is being asked, and end."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        # Instead of a look ten times a second whether to end, which was a quarter of what an idle relay did.
        await self.on_tick(0)
        await self._leaving.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(
    obstacles: Callable[[], list[str]], warnings: Callable[[], Sequence[str]], held: Callable[[], int], metrics: Metrics
) -> Probes:
    """`obstacles` returns what keeps the relay from working, if anything; `held` its number of partitions.

    `warnings` are for an operator to read, and make nobody unready.
    """

    async def healthz(_: Request) -> Response:
        # That it answers shows that the event loop turns; whatever else failed would have ended the process.
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        waiting_for = obstacles()
        status = "ready" if not waiting_for else "waiting"
        return JSONResponse(
            {"status": status, "waiting_for": waiting_for, "warnings": list(warnings()), "partitions": held()},
            status_code=503 if waiting_for else 200,
        )

    async def exposition(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    app = Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", exposition)])
    app.router.redirect_slashes = False  # it would redirect to whatever host the request names
    config = uvicorn.Config(
        app, http=Http, ws="none", log_config=None, access_log=False, date_header=False, lifespan="off",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    return Probes(config)

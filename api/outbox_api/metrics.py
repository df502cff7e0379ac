"""Metrics of HTTP: how many requests, how they ended, how long they took."""

from __future__ import annotations

import os
import time

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from outbox.web.keys import Scope
from outbox_api.access import Requires

router = APIRouter(tags=["health"], dependencies=[Depends(Requires(Scope.READ))])

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""What the library reads as it is imported: whoever starts several processes sets it before."""


def shared_folder(processes: int) -> str | None:
    """Where the processes of one `outbox api` count together; None for a single one."""
    return os.environ.get(FOLDER) if processes > 1 else None


class Metrics:
    """Counts around `app`. Labels are the route's template and a known method, never what a client chose itself: their
    number stays small.

    `shared` is the folder in which all processes of one `outbox api` count, those that have ended included; None: there
    is one process.
    """

    def __init__(self, app: ASGIApp, shared: str | None = None) -> None:
        self._app = app
        self._shared = shared
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.appended = Counter(
            "api_appended_messages", "Messages appended by uploads and reparses.", registry=self._registry
        )
        self._requests = Counter("api_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "api_request_seconds", "From a request's headers to the end of its answer.", ("method", "route"),
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["state"]["metrics"] = self
        started = time.perf_counter()
        status = "none"  # the client was gone before there was one

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except Exception:
            status = "500"  # the answer is given further out
            raise
        finally:
            route = getattr(scope.get("route"), "path_format", "none")
            # A method is any word that a client, with a key or without, thinks of: each would stay in memory for ever.
            method = scope["method"] if route != "none" and scope["method"] in _METHODS else "none"
            self._requests.labels(method, route, status).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - started)

    def exposition(self) -> bytes:
        if self._shared is None:
            return generate_latest(self._registry)
        # Of all processes: a scrape reaches one of them by chance, and counters would jump back and forth.
        together = CollectorRegistry()
        MultiProcessCollector(together, self._shared)  # type: ignore[no-untyped-call]
        return generate_latest(together)


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def show_metrics(request: Request) -> Response:
    """Requests and their durations, by route."""
    metrics: Metrics = request.state.metrics
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

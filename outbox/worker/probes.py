"""The worker's own HTTP: /healthz, /readyz and /metrics, answered in threads.

Beside the event loop, so that they answer while a handler lets nothing else run: how long that may take is for
`handler_seconds` to say, and not for whoever asks whether the process is alive.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import ThreadingWSGIServer

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TIMEOUT_SECONDS = 5.0
"""How long a request may take to arrive."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is asked at each request, from another thread.

    `alive`: whether the process does, or may still do, its work. `ready`: `waiting_for`, what keeps it from taking
    messages, if anything does, and what else is to be said.
    """

    alive: Callable[[], bool]
    ready: Callable[[], Mapping[str, Any]]
    exposition: Callable[[], bytes]


def exposition_of(registry: CollectorRegistry) -> Callable[[], bytes]:
    return lambda: generate_latest(registry)


@contextmanager
def served(health: Health, listen: socket.socket) -> Iterator[None]:
    """Answer at `listen` meanwhile."""
    server = _Server(listen, health)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    timeout = TIMEOUT_SECONDS

    def log_message(self, *_: object) -> None:
        """Nobody wants to read of each probe."""


class _Server(ThreadingWSGIServer):
    daemon_threads = True

    def __init__(self, listen: socket.socket, health: Health) -> None:
        super().__init__(("", 0), _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listen
        self.server_address = listen.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()
        self.server_activate()
        self.set_app(lambda environ, start: _answer(health, environ, start))


def _answer(health: Health, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    status, kind, body = _reply(health, environ["REQUEST_METHOD"], environ["PATH_INFO"])
    start(
        f"{status.value} {status.phrase}",
        [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff")],
    )
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _reply(health: Health, method: str, path: str) -> tuple[HTTPStatus, str, bytes]:
    if method not in ("GET", "HEAD"):
        return HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b""
    match path:
        case "/healthz":
            alive = health.alive()
            return _json(alive, {"status": "alive" if alive else "stuck"})
        case "/readyz":
            state = health.ready()
            waits = bool(state["waiting_for"])
            return _json(not waits, {"status": "waiting" if waits else "ready", **state})
        case "/metrics":
            return HTTPStatus.OK, METRICS_TYPE, health.exposition()
    return HTTPStatus.NOT_FOUND, "text/plain", b""


def _json(fine: bool, value: Mapping[str, Any]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(value).encode()

"""`outbox api`: serve the API. Registered as a command by the entry point group `outbox.commands`."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from functools import partial
from typing import Annotated

import pymongo
import structlog
import typer
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from pymongo.errors import PyMongoError
from uvicorn.supervisors import Multiprocess

from outbox import garbage, logs
from outbox.servers.connections import connect_mongo, connect_redis, open_database
from outbox.settings import OutboxSettings, load
from outbox.streams.registry import Registered
from outbox.web.http11 import Http
from outbox.web.keys import refuse_open_door
from outbox.web.listening import address, listen
from outbox_api import metrics
from outbox_api.app import create_app
from outbox_api.hosts import OWN_NAMES
from outbox_api.settings import ApiSettings
from outbox_api.state import Gate

log = structlog.get_logger(__name__)

STANDSTILL_SECONDS = 20
"""A worker that does not answer its parent for so long is taken for dead, and killed with the requests that it has
under way. Longer than a busy machine stands still, or than a worker takes to start there."""


def api(
    host: Annotated[str | None, typer.Option(help="Where to listen.")] = None,
    port: Annotated[int | None, typer.Option(help="0 picks a free port.", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the port.", min=1, max=64)] = None,
) -> None:
    """Serve the HTTP API, until stopped.

    Without keys (`outbox key new`) it is open, and listens on this machine only.

    Starts with either server still down; /health/ready tells when uploads work. SIGTERM lets requests under way finish,
    for OUTBOX_API_STOP_SECONDS at most.

    Examples:

        outbox api

        OUTBOX_API_KEYS='…' outbox api --host 0.0.0.0 --port 8080 --workers 4
    """
    settings = load(ApiSettings, **({} if workers is None else {"api_workers": workers}))
    place = address(settings.api_listen).at(host, port)
    refuse_open_door(place.host, keys=bool(settings.keys), open_to_all=settings.api_open_to_all)
    outbox_settings = load(OutboxSettings)
    logs.configure(outbox_settings)
    if settings.api_session_secret is None:
        # Shared by the processes that are started from here.
        os.environ["OUTBOX_API_SESSION_SECRET"] = secret = secrets.token_urlsafe(32)
        settings = settings.model_copy(update={"api_session_secret": SecretStr(secret)})
    # Uvicorn gives a signal back once it has stopped in order: that is an end like any other.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    hint = "is another program listening there? Choose another with --port, or set OUTBOX_API_LISTEN"
    # Held from here on: a port that was only found free could be taken before the server listens.
    with listen(*place, name="OUTBOX_API_LISTEN", hint=hint) as listener:
        # For the processes that are started from here, whatever was on the command line.
        os.environ["OUTBOX_API_LISTEN"] = str(place)
        settings = settings.model_copy(update={"api_listen": str(place)})
        asyncio.run(_refuse_without_schema(settings, outbox_settings))
        port = listener.getsockname()[1]
        log.info("listening", host=place.host, port=port, workers=settings.api_workers)
        _serve(settings, outbox_settings, listener)


def _serve(settings: ApiSettings, outbox_settings: OutboxSettings, listener: socket.socket) -> None:
    # A single process has read its settings: a secret that came through a pipe cannot be read again.
    alone = settings.api_workers == 1
    config = uvicorn.Config(
        partial(_application, settings, outbox_settings) if alone else "outbox_api.cli:application",
        factory=True,
        workers=settings.api_workers,
        http=Http,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # it would believe anybody on this machine: see OUTBOX_API_TRUSTED_PROXIES
        timeout_worker_healthcheck=STANDSTILL_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.api_stop_seconds)),
    )
    server = uvicorn.Server(config)
    if alone:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
        if not server.started:
            sys.exit(3)  # it has said why
        return
    os.environ["OUTBOX_API_WORKERS"] = str(settings.api_workers)
    with tempfile.TemporaryDirectory(prefix="outbox-api-metrics-") as os.environ[metrics.FOLDER]:
        Multiprocess(config, sockets=[listener]).run()


def application() -> FastAPI:
    """The application with the settings of the environment, for one of several worker processes."""
    _stop_with_parent()
    outbox_settings = load(OutboxSettings)
    logs.configure(outbox_settings)
    return _application(load(ApiSettings), outbox_settings)


def _application(settings: ApiSettings, outbox_settings: OutboxSettings) -> FastAPI:
    host = address(settings.api_listen).host
    open_here = not (settings.keys or settings.api_open_to_all)
    names = [*OWN_NAMES, f"[{host}]" if ":" in host else host] if open_here else ()
    made = create_app(settings, outbox_settings, names=names)
    garbage.collect_seldom()
    return made


async def _refuse_without_schema(settings: ApiSettings, outbox_settings: OutboxSettings) -> None:
    """Raise SchemaError or WrongDeclaration now: once the server runs, it could only be told with a traceback."""
    async with connect_mongo(outbox_settings) as mongo, connect_redis(outbox_settings):  # or that it cannot be made
        try:
            with pymongo.timeout(settings.api_probe_seconds):
                database = open_database(mongo, outbox_settings.place)
                await Gate(database, Registered(outbox_settings.streams.declared()), outbox_settings.declares).check()
        except PyMongoError:
            return  # it may come up later, and /health/ready tells


def _stop_with_parent() -> None:
    """One of several worker processes stops in order when the one that started it is gone, however it ended.

    It would go on serving on a port that nobody can take any more, with settings that nobody can change.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        log.warning("the process that started this one is gone: stopping", pid=os.getpid())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch of the parent", daemon=True).start()

"""`outbox api`: serve the API. Registered as a command by the entry point group `outbox.commands`."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from typing import Annotated

import pymongo
import structlog
import typer
import uvicorn
from fastapi import FastAPI
from pymongo.errors import PyMongoError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api.app import create_app
from api.settings import ApiSettings
from outbox import logs, schema
from outbox.connections import connect_mongo
from outbox.errors import SettingsError
from outbox.http11 import Http
from outbox.keys import refuse_open_door
from outbox.settings import OutboxSettings, load

log = structlog.get_logger(__name__)

OWN_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")


def api(
    host: Annotated[str | None, typer.Option(help="Where to listen.")] = None,
    port: Annotated[int | None, typer.Option(help="0 picks a free port.", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the port.", min=1, max=64)] = None,
) -> None:
    """Serve the HTTP API, until stopped.

    Without keys (`outbox key new`) it is open, and listens on this machine only.

    Starts with either server still down; /health/ready tells when uploads work. SIGTERM lets requests under way finish,
    for API_STOP_SECONDS at most.

    Examples:

        outbox api

        API_KEYS='…' outbox api --host 0.0.0.0 --port 8080 --workers 4
    """
    overrides = {"api_host": host, "api_port": port, "api_workers": workers}
    settings = load(ApiSettings, **{name: value for name, value in overrides.items() if value is not None})
    refuse_open_door(settings.api_host, keys=bool(settings.keys), open_to_all=settings.api_open_to_all)
    outbox_settings = load(OutboxSettings)
    logs.configure(outbox_settings)
    if settings.api_session_secret is None:
        # Shared by the processes that are started from here.
        os.environ["API_SESSION_SECRET"] = secrets.token_urlsafe(32)
    # Uvicorn gives a signal back once it has stopped in order: that is an end like any other.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    free = _free_port(settings)
    asyncio.run(_refuse_without_schema(settings, outbox_settings))
    log.info("listening", host=settings.api_host, port=free, workers=settings.api_workers)
    uvicorn.run(
        "api.cli:application",
        factory=True,
        host=settings.api_host,
        port=free,
        workers=settings.api_workers,
        http=Http,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # it would believe anybody on this machine: see API_TRUSTED_PROXIES
        timeout_graceful_shutdown=max(1, round(settings.api_stop_seconds)),
    )


def application() -> FastAPI:
    """The application with the settings of the environment; each worker process makes its own."""
    outbox_settings = load(OutboxSettings)
    logs.configure(outbox_settings)
    settings = load(ApiSettings)
    app = create_app(settings, outbox_settings)
    if not (settings.keys or settings.api_open_to_all):
        # A page of another site can call this machine by a name of its own, and then read what it likes from an open
        # door: so only by our own names.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*OWN_NAMES, settings.api_host], www_redirect=False)
    return app


async def _refuse_without_schema(settings: ApiSettings, outbox_settings: OutboxSettings) -> None:
    """Raise SchemaError now: once the server runs, it could only be told with a traceback."""
    async with connect_mongo(outbox_settings) as mongo:
        try:
            with pymongo.timeout(settings.api_probe_seconds):
                await schema.check(mongo[outbox_settings.mongodb_database], outbox_settings.streams)
        except PyMongoError:
            return  # it may come up later, and /health/ready tells


def _free_port(settings: ApiSettings) -> int:
    """The port to listen on; a free one for 0. Raises SettingsError when it is taken."""
    host, port = settings.api_host, settings.api_port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family) as listener:
            bound: int = listener.getsockname()[1]
            return bound
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} cannot be used ({error.strerror}): is another program listening there? "
            "Choose another with --port, or set API_PORT"
        ) from None

"""The application: what it opens, what it answers to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict

import pymongo
import structlog
from fastapi import FastAPI
from pymongo.errors import PyMongoError
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from outbox.append import Outbox
from outbox.servers.causes import explain
from outbox.servers.connections import connect_mongo, connect_redis, open_database
from outbox.settings import OutboxSettings
from outbox.streams.declaration import FILE_STREAM
from outbox.streams.registry import Registered
from outbox_api import dashboard, documentation, files, health, messages, metrics, problems, queue, replays, streams
from outbox_api.access import Access
from outbox_api.dashboard import Dashboard
from outbox_api.documentation import Documented
from outbox_api.guesses import Guesses
from outbox_api.headers import SecurityHeaders
from outbox_api.heads import Heads
from outbox_api.hosts import OwnNames
from outbox_api.readiness import Lookout
from outbox_api.settings import ApiSettings
from outbox_api.state import Gate, State
from outbox_api.stopping import Stopping
from outbox_api.uploads.abandoned import removed

log = structlog.get_logger(__name__)

DESCRIPTION = """\
Uploads are stored in MongoDB together with a message that reaches a Redis stream exactly once, whatever happens to
Redis meanwhile. Every error is a problem (RFC 9457).
"""


class Lifespan(TypedDict):
    """What the server hands to each request as `request.state`."""

    api: State
    dashboard: Dashboard
    lookout: Lookout


def create_app(settings: ApiSettings, outbox_settings: OutboxSettings, *, names: Sequence[str] = ()) -> FastAPI:
    """The application. It connects when it is started, and may be started before MongoDB and Redis are.

    `names`: the only ones by which it may be called; by default any.

    Raises UndeclaredStream when there is no stream to queue files in. Started, it raises SchemaError when MongoDB is
    there and not set up, or WrongDeclaration when the settings contradict what is registered.
    """
    registered = Registered(outbox_settings.streams.declared())
    _ = registered[FILE_STREAM]
    access = Access(settings.keys, settings.api_rate_limit)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Lifespan]:
        async with (
            connect_mongo(outbox_settings) as mongo,
            connect_redis(outbox_settings, timeout_seconds=settings.api_probe_seconds) as redis,
        ):
            database = open_database(mongo, outbox_settings.place)
            outbox = Outbox(
                registered, database=database.name, prefix=outbox_settings.outbox_prefix,
                max_message_bytes=outbox_settings.outbox_max_message_bytes,
            )  # fmt: skip
            gate = Gate(database, registered, outbox_settings.declares)
            try:
                with pymongo.timeout(settings.api_probe_seconds):
                    await gate.check()
            except PyMongoError as error:
                log.warning("mongodb unavailable", address=outbox_settings.mongodb_address, cause=str(explain(error)))
            state = State(
                settings, access, registered, mongo, database, redis, outbox_settings.redis_address, outbox,
                outbox_settings.outbox_replay_rate, Guesses(database), gate,
            )  # fmt: skip
            async with removed(database, settings), dashboard.opened(state) as board:
                yield Lifespan(api=state, dashboard=board, lookout=Lookout(state))

    app = Documented(
        title="outbox-relay", version="1", description=DESCRIPTION, lifespan=lifespan,
        docs_url=None, redoc_url=None, locked=not access.open,
        redirect_slashes=False,  # it would redirect to whatever host the request names, and never to https
    )  # fmt: skip
    problems.install(app)
    app.add_middleware(Heads)
    # Within the next two: their answers are counted, and have the headers.
    app.add_middleware(Stopping)
    if names:
        app.add_middleware(OwnNames, names=names)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(metrics.Metrics, shared=metrics.shared_folder(settings.api_workers))
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)
    # Before the dashboard's routes, of which the last one answers for whatever is no page.
    app.mount("/docs/static", documentation.static)
    app.mount("/dashboard/static", dashboard.static)
    for router in (
        files.uploads, files.changes, files.router, queue.router, messages.router, messages.operations,
        replays.router, replays.operations, streams.router, streams.operations, health.router, metrics.router,
        documentation.router, *dashboard.routers,
    ):  # fmt: skip
        app.include_router(router)
    return app

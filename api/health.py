"""The routes of health: is the process alive, and do uploads work."""

from __future__ import annotations

import asyncio
from typing import Literal

import pymongo
from fastapi import APIRouter
from pymongo.errors import PyMongoError

from api.documentation import problems
from api.errors import NotReady
from api.state import Current, State
from api.views import LiveView, ReadyView
from outbox import causes, stats
from outbox.errors import SchemaError

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", summary="Is the process alive")
async def live() -> LiveView:
    """Asks nobody."""
    return LiveView(status="live")


@router.get(
    "/ready",
    summary="Do uploads work",
    responses=problems(NotReady),
)
async def ready(state: Current) -> ReadyView:
    """MongoDB and its schema decide. Without Redis the answer is `degraded`, and still 200: uploads work."""
    mongodb, queue = await asyncio.gather(_mongodb(state), stats.queue(state.redis, state.streams))
    checks = {"mongodb": mongodb, "redis": queue.cause.in_short if queue.cause else "ok"}
    if mongodb != "ok":
        raise NotReady(checks)
    status: Literal["ready", "degraded"] = "degraded" if queue.cause else "ready"
    return ReadyView(status=status, checks=checks, warnings=list(queue.warnings))


async def _mongodb(state: State) -> str:
    try:
        with pymongo.timeout(state.settings.api_probe_seconds):
            await state.gate.check()
    except SchemaError as error:
        return str(error)
    except PyMongoError as error:
        return causes.explain(error).in_short
    return "ok"

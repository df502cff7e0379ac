"""The routes of health: is the process alive, and do uploads work."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request

from outbox_api.documentation import problems
from outbox_api.errors import NotReady
from outbox_api.readiness import Lookout
from outbox_api.views import LiveView, ReadyView

router = APIRouter(prefix="/health", tags=["health"])


async def _lookout(request: Request) -> Lookout:
    lookout: Lookout = request.state.lookout
    return lookout


Looking = Annotated[Lookout, Depends(_lookout)]


@router.get("/live", summary="Is the process alive")
async def live() -> LiveView:
    """Asks nobody."""
    return LiveView(status="live")


@router.get(
    "/ready",
    summary="Do uploads work",
    responses=problems(NotReady),
)
async def ready(lookout: Looking) -> ReadyView:
    """MongoDB and its schema decide. Without Redis the answer is `degraded`, and still 200: uploads work.

    The answer may be half a second old, and what it says of the schema and of single streams half a minute.
    """
    found = await lookout.look()
    if not found.ready:
        raise NotReady(found.checks)
    status: Literal["ready", "degraded"] = "degraded" if found.degraded else "ready"
    return ReadyView(status=status, checks=dict(found.checks), warnings=list(found.warnings))

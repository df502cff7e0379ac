"""The routes of streams: which are paused, pause, resume."""

from __future__ import annotations

from typing import Annotated

import pymongo
from fastapi import APIRouter, Depends, Path

from outbox.errors import CommitUnknown, NoSuchStream, SchemaError, Unreachable, UsageError
from outbox.operations import pausing
from outbox.streams import pauses
from outbox.web.keys import Scope
from outbox_api.access import Asking, Requires
from outbox_api.bodies import JsonRoute
from outbox_api.documentation import problems
from outbox_api.errors import BodyStalled, BodyTooLarge
from outbox_api.state import Bounded, Current, State
from outbox_api.stream_views import PauseRequest, PausesView

router = APIRouter(
    prefix="/outbox/streams", tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.READ))]
)
operations = APIRouter(
    prefix="/outbox/streams", tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.OPERATE))]
)

Name = Annotated[str, Path(min_length=1, max_length=512, description="of a registered stream")]


@router.get("/paused", summary="Which streams are paused", dependencies=[Bounded], responses=problems(Unreachable))
async def list_paused(state: Current) -> PausesView:
    """Since when, by whom and why. The other streams run."""
    return PausesView.of(await pauses.read(state.database))


@operations.post(
    "/{name:path}/pause",
    summary="Pause a stream",
    responses=problems(NoSuchStream, UsageError, BodyStalled, BodyTooLarge, Unreachable, SchemaError, CommitUnknown),
)
async def pause_stream(state: Current, asking: Asking, name: Name, wanted: PauseRequest | None = None) -> PausesView:
    """Within a second nothing of it is published, and workers begin nothing of it, until it is resumed.

    Uploads and appends work as ever: their messages wait in MongoDB. A stream that is paused already stays as it is.
    """
    reason, seconds = wanted.reason if wanted else None, state.settings.api_commit_seconds
    await pausing.pause(state.database, name, who=asking.name, reason=reason, seconds=seconds)
    return await _paused(state)


@operations.post(
    "/{name:path}/resume",
    summary="Resume a stream",
    responses=problems(NoSuchStream, Unreachable, SchemaError, CommitUnknown),
)
async def resume_stream(state: Current, asking: Asking, name: Name) -> PausesView:
    """Let a paused stream go on, within a second. A stream that is not paused stays as it is."""
    await pausing.resume(state.database, name, who=asking.name, seconds=state.settings.api_commit_seconds)
    return await _paused(state)


async def _paused(state: State) -> PausesView:
    with pymongo.timeout(state.settings.api_read_seconds):
        return PausesView.of(await pauses.read(state.database))

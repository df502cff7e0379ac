"""The routes of replays, which are jobs, and of the audit."""

from __future__ import annotations

from typing import Annotated

import pymongo
from bson import ObjectId
from fastapi import APIRouter, Depends, Header, Query, Response

from outbox.errors import CommitUnknown, JobEnded, KeyTaken, NoSuchJob, SchemaError, Unreachable, UsageError
from outbox.operations import audit, jobs, replay
from outbox.web.keys import Scope
from outbox_api.access import Asking, Requires, one_key
from outbox_api.bodies import JsonRoute
from outbox_api.documentation import problems
from outbox_api.errors import BodyStalled, BodyTooLarge
from outbox_api.ids import Id
from outbox_api.state import Bounded, Current
from outbox_api.views import AuditView, DryRunView, JobsView, JobView, RecordView, ReplayRequest

router = APIRouter(
    prefix="/outbox", tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.READ))]
)
operations = APIRouter(
    prefix="/outbox", tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.OPERATE))]
)

Request = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=jobs.MAX_REQUEST,
        pattern=r"^[\x21-\x7e]+$",
        description="the same request under the same key is one replay, however often it is sent",
    ),
]


@operations.post(
    "/replay",
    status_code=202,
    summary="Replay messages",
    dependencies=[Depends(one_key)],
    response_model=JobView,
    responses={
        200: {"model": DryRunView, "description": "Of a dry run: how many match."},
        **problems(UsageError, KeyTaken, BodyStalled, BodyTooLarge, Unreachable, SchemaError, CommitUnknown),
    },
)
async def replay_messages(
    state: Current, asking: Asking, wanted: ReplayRequest, answer: Response, request: Request = None
) -> JobView | Response:
    """Make published and completed messages pending again, under their own ids, with `attempt` one higher.

    The answer is a job, on which the relays work: `GET /outbox/replays/{id}` tells how far it is. A second request
    replays once more what has been published since, unless it has the same `Idempotency-Key`.
    """
    selection = wanted.selection()
    if selection.stream:
        _ = state.streams[selection.stream]
    with pymongo.timeout(state.settings.api_read_seconds):
        await state.gate.require()
        if wanted.dry_run:
            counted = DryRunView(selected=await replay.count(state.database, selection), replayed=0)
            return Response(counted.model_dump_json(), media_type="application/json")
    job = await jobs.create(
        state.database, selection, who=asking.name, request=request, rate=wanted.rate or state.replay_rate,
        any_rate=wanted.rate is None, seconds=state.settings.api_commit_seconds,
    )  # fmt: skip
    answer.headers["Location"] = f"/outbox/replays/{job.id}"
    return JobView.of(job)


@router.get("/replays", summary="List replays", dependencies=[Bounded], responses=problems(Unreachable))
async def list_replays(state: Current, limit: Annotated[int, Query(ge=1, le=500)] = 20) -> JobsView:
    """The latest replays, newest first."""
    return JobsView(replays=[JobView.of(job) for job in await jobs.latest(state.database, limit)])


@router.get(
    "/replays/{job_id:id}",
    summary="Look up a replay",
    dependencies=[Bounded],
    responses=problems(NoSuchJob, Unreachable),
)
async def find_replay(state: Current, job_id: Id) -> JobView:
    """How far a replay is."""
    return JobView.of(await jobs.find(state.database, ObjectId(job_id)))


@operations.post(
    "/replays/{job_id:id}/cancel",
    summary="Cancel a replay",
    responses=problems(NoSuchJob, JobEnded, Unreachable, CommitUnknown),
)
async def cancel_replay(state: Current, asking: Asking, job_id: Id) -> JobView:
    """Stop a replay after the page in hand. What it has replayed until then stays so."""
    seconds = state.settings.api_commit_seconds
    return JobView.of(await jobs.cancel(state.database, ObjectId(job_id), who=asking.name, seconds=seconds))


@router.get("/audit", summary="What operators did", dependencies=[Bounded], responses=problems(Unreachable))
async def show_audit(
    state: Current,
    who: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
    action: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    before: Annotated[Id | None, Query(description="from the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=audit.MAX_PAGE)] = 50,
) -> AuditView:
    """Records that match all that is given, newest first, a page at a time."""
    page = await audit.page(
        state.database, who=who, action=action, before=ObjectId(before) if before else None, limit=limit
    )
    records = [RecordView.model_validate(record.as_json()) for record in page.records]
    return AuditView(records=records, before=str(page.before) if page.before else None)

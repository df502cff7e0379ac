"""The routes of the outbox: what is going on, messages, retry."""

from __future__ import annotations

from typing import Annotated

import pymongo
from bson import ObjectId
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse

from outbox.errors import CommitUnknown, NoSuchMessage, NotDead, Unreachable, UsageError
from outbox.message import document as message
from outbox.operations import dead, messages, stats
from outbox.web.keys import Scope
from outbox_api.access import Asking, Requires
from outbox_api.bodies import JsonRoute
from outbox_api.documentation import problems
from outbox_api.ids import Id
from outbox_api.state import Bounded, Current, State
from outbox_api.views import MessagesView, MessageView, StatusView

router = APIRouter(
    prefix="/outbox", tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.READ))]
)
operations = APIRouter(
    prefix="/outbox", tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.OPERATE))]
)


@router.get(
    "/stats",
    summary="What is going on",
    dependencies=[Bounded],
    responses=problems(Unreachable),
)
async def show_stats(state: Current) -> StatusView:
    """Messages by state, streams, partitions and relays. Also while Redis is down; then its part is not known."""
    status = await stats.collect(state.database, state.redis, state.streams_now)
    return StatusView.model_validate(status.as_json())


@router.get(
    "/messages",
    response_model=MessagesView,
    summary="List messages",
    dependencies=[Bounded],
    responses=problems(Unreachable),
)
async def list_messages(
    state: Current,
    in_state: Annotated[message.State | None, Query(alias="state")] = None,
    stream: Annotated[str | None, Query(min_length=1, max_length=512)] = None,
    key: Annotated[str | None, Query(min_length=1, max_length=512, description="such as a file's id")] = None,
    before: Annotated[Id | None, Query(description="from the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=messages.MAX_PAGE)] = 50,
) -> Response:
    """Messages that match all that is given, newest first, a page at a time."""
    page = await messages.list_page(
        state.database,
        state=in_state,
        stream=stream,
        key=key,
        before=ObjectId(before) if before else None,
        limit=limit,
    )
    found = [messages.plain(message) for message in page.messages]
    return JSONResponse({"messages": found, "before": str(page.before) if page.before else None})


@router.get(
    "/messages/{message_id:id}",
    response_model=MessageView,
    summary="Look up a message",
    dependencies=[Bounded],
    responses=problems(NoSuchMessage, Unreachable),
)
async def find_message(state: Current, message_id: Id) -> Response:
    """A message as it is stored."""
    return await _show(state, message_id)


async def _show(state: State, message_id: str) -> Response:
    # As it is, and not held against MessageView: one that was written around the library is the one to look at.
    return JSONResponse(messages.plain(await messages.find(state.database, ObjectId(message_id))))


@operations.post(
    "/messages/{message_id:id}/retry",
    response_model=MessageView,
    summary="Retry a dead message",
    responses=problems(NoSuchMessage, NotDead, UsageError, Unreachable, CommitUnknown),
)
async def retry_message(state: Current, asking: Asking, message_id: Id) -> Response:
    """Make a dead message pending again, and its file queued."""
    seconds = state.settings.api_commit_seconds
    await dead.retry(state.database, state.streams, ObjectId(message_id), who=asking.name, seconds=seconds)
    with pymongo.timeout(state.settings.api_read_seconds):
        return await _show(state, message_id)

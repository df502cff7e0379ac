"""The route of the queue: what stands in Redis."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from outbox.errors import Unreachable
from outbox.operations import stats
from outbox.web.keys import Scope
from outbox_api.access import Requires
from outbox_api.bodies import JsonRoute
from outbox_api.documentation import problems
from outbox_api.state import Current
from outbox_api.views import QueueView

router = APIRouter(tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.READ))])


@router.get(
    "/queue",
    summary="How long the streams are",
    responses=problems(Unreachable),
)
async def show_queue(state: Current) -> dict[str, QueueView]:
    """Each declared stream in numbers."""
    queue = await stats.queue(state.redis, state.streams)
    if not queue.reachable:
        raise Unreachable("Redis", state.redis_address, queue.cause.what if queue.cause else "no answer")
    return {name: QueueView.model_validate(depth.as_json()) for name, depth in queue.streams.items()}

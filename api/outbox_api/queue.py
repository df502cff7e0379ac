"""The route of the queue: what stands in Redis."""

from __future__ import annotations

from contextlib import suppress

import pymongo
from fastapi import APIRouter, Depends
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from outbox.errors import SchemaError, Unreachable
from outbox.operations import stats
from outbox.protocol.ownership import own, refused
from outbox.web.keys import Scope
from outbox_api.access import Requires
from outbox_api.bodies import JsonRoute
from outbox_api.documentation import problems
from outbox_api.state import Current, State
from outbox_api.stream_views import StreamQueueView

router = APIRouter(tags=["outbox"], route_class=JsonRoute, dependencies=[Depends(Requires(Scope.READ))])


@router.get(
    "/queue",
    summary="How long the streams are",
    responses=problems(Unreachable),
)
async def show_queue(state: Current) -> dict[str, StreamQueueView]:
    """Each declared stream in numbers, its key in Redis, and whether another outbox has it.

    Needs Redis alone: while MongoDB is away, whose streams they are is not known.
    """
    streams = state.streams_now
    queue = await stats.queue(state.redis, streams)
    if not queue.reachable:
        raise Unreachable("Redis", state.redis_address, queue.cause.what if queue.cause else "no answer")
    others = await _refused(state)
    return {
        name: StreamQueueView(
            **depth.as_json(), key=streams[name].key, prefix=streams[name].prefix,
            refused=others.get(streams[name].key),
        )
        for name, depth in queue.streams.items()
    }  # fmt: skip


async def _refused(state: State) -> dict[str, str]:
    """By the keys of streams that belong to another outbox, as far as it can be known: what a relay says."""
    with suppress(PyMongoError, SchemaError, RedisError, OSError), pymongo.timeout(state.settings.api_probe_seconds):
        ours = await own(state.database)
        return {
            error.stream: f"{error.what}. {error.do}"
            for error in await refused(state.redis, state.streams.values(), ours)
        }
    return {}

"""Lifespan: what handlers need is made once, before the first message, and closed after the last one."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient

from outbox.database import Document
from outbox.worker.handler import without_partials
from outbox.worker.threads import Threads

Lifespan = Callable[..., AbstractAsyncContextManager[Any] | AbstractContextManager[Any]]
"""A context manager, called with the client that handlers' sessions belong to, so that what it sets up with it, such as
Beanie's models, can be used in their transactions. An async one is given the client of async handlers, an
AsyncMongoClient; a plain one, entered in a thread, that of plain handlers, a MongoClient."""


@asynccontextmanager
async def entered(
    lifespan: Lifespan | None, client: AsyncMongoClient[Document], threads: Threads
) -> AsyncIterator[Any]:
    """What it yields, or None without one. Raises what it raises."""
    if lifespan is None:
        yield None
    elif _is_async(lifespan):
        made: Any = lifespan(client)
        async with made as resources:
            yield resources
    else:
        # By hand, since both ends may wait for others: neither must stop the event loop.
        made = await threads.run(lambda: lifespan(threads.client))
        resources = await threads.run(made.__enter__)
        try:
            yield resources
        finally:
            await threads.run(lambda: made.__exit__(None, None, None))


def _is_async(lifespan: Lifespan) -> bool:
    if isinstance(lifespan, type):
        return hasattr(lifespan, "__aenter__")
    function, _ = without_partials(lifespan)
    return not inspect.isgeneratorfunction(inspect.unwrap(function))

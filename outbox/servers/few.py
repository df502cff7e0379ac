"""Few: questions about any number of streams, on a few connections.

Each command that is under way has a connection of its own. Whoever asks about hundreds of streams at once would open
hundreds, which a small Redis does not allow, or takes from those that publish.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

from redis.commands import AsyncCoreCommands
from redis.exceptions import ResponseError

from outbox.servers.cluster import Cluster
from outbox.servers.topology import AnyRedis

AT_ONCE = 16
"""Commands that are under way at each server, of all that use one client in this way."""


@asynccontextmanager
async def few_connections(redis: AnyRedis, seconds: float | None = None) -> AsyncIterator[AnyRedis]:
    """The commands of `redis`, of which only so many are under way at a time; the others wait for their turn.

    :param seconds: how long Redis may be silent. However many questions there are, it is as long for each.
    :raises TimeoutError: nothing was answered for so long.
    """
    given: object = redis
    client = given.redis if isinstance(given, _Few) else redis
    turns = _TURNS.setdefault(client, _Turns())
    async with asyncio.timeout(seconds) as limit:
        if seconds is not None:
            turns.limits[limit] = seconds
        try:
            yield cast(AnyRedis, _Few(client, turns))
        finally:
            turns.limits.pop(limit, None)


class _Turns:
    """Of one client. An answer to anybody shows to all who wait for their turn that Redis is not silent."""

    def __init__(self) -> None:
        self.at: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self.limits: dict[asyncio.Timeout, float] = {}

    def answered(self) -> None:
        now = asyncio.get_running_loop().time()
        for limit, seconds in self.limits.items():
            if not limit.expired():
                limit.reschedule(now + seconds)


_TURNS: WeakKeyDictionary[AnyRedis, _Turns] = WeakKeyDictionary()


class _Few(AsyncCoreCommands):
    _event_dispatcher: Any = None  # redis-py's own, which the commands do not use

    def __init__(self, redis: AnyRedis, turns: _Turns) -> None:
        self.redis = redis
        self._turns = turns

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        # For each server: one that is silent does not hold up what is asked of the others.
        server = self.redis.server_of(args) if isinstance(self.redis, Cluster) else ""
        async with self._turns.at[server]:
            try:
                reply = await self.redis.execute_command(*args, **options)
            except ResponseError:
                self._turns.answered()
                raise
            self._turns.answered()
            return reply

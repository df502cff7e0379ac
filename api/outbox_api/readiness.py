"""Whether uploads work: found out at most twice a second, however many ask, and with few commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import pymongo
from pymongo.errors import PyMongoError

from outbox.errors import SchemaError
from outbox.operations import stats
from outbox.operations.stats import Queue
from outbox.protocol.ownership import own
from outbox.servers import causes, eviction
from outbox.streams import pauses
from outbox.streams.pauses import Pauses
from outbox_api.state import State

LOOK_SECONDS = 0.5
"""For so long an answer is given to all who ask. Anybody may, and each look costs MongoDB and Redis something."""

THOROUGH_SECONDS = 30.0
"""How often the whole schema and each stream are looked at while nothing is wrong with them. In between, one command to
MongoDB and one to Redis tell whether they answer."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """`checks`: "ok" or what is wrong, of each server. Without MongoDB uploads do not work; without Redis they do."""

    checks: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def ready(self) -> bool:
        return self.checks["mongodb"] == "ok"

    @property
    def degraded(self) -> bool:
        return self.checks["redis"] != "ok"


class Lookout:
    """One for each process."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._looking = asyncio.Lock()
        self._found: Readiness | None = None
        self._looked = self._schema_looked = self._queue_looked = float("-inf")
        self._queue: Queue | None = None
        self._paused = Pauses()

    async def look(self) -> Readiness:
        """What was found half a second ago at most. Who asks during a look gets what it finds."""
        async with self._looking:
            if self._found is None or time.monotonic() - self._looked > LOOK_SECONDS:
                mongodb, queue = await asyncio.gather(self._mongodb(), self._redis())
                checks = {"mongodb": mongodb, "redis": queue.cause.in_short if queue.cause else "ok"}
                # Anybody may ask: who paused it and why is for those with a key.
                paused = (f"stream {name!r} is paused" for name in self._paused.paused)
                self._found, self._looked = Readiness(checks, (*queue.warnings, *paused)), time.monotonic()
            return self._found

    async def _mongodb(self) -> str:
        try:
            with pymongo.timeout(self._state.settings.api_probe_seconds):
                if time.monotonic() - self._schema_looked > THOROUGH_SECONDS:
                    await self._state.gate.check()
                    self._schema_looked = time.monotonic()
                    self._paused = self._state.streams.pauses
                else:
                    await self._state.gate.require()
                    self._paused = await pauses.read(self._state.database)
        except SchemaError as error:
            self._schema_looked = float("-inf")
            return str(error)
        except PyMongoError as error:
            self._schema_looked = float("-inf")
            return causes.explain(error).in_short
        return "ok"

    async def _redis(self) -> Queue:
        known = self._queue
        if known and not known.cause and time.monotonic() - self._queue_looked < THOROUGH_SECONDS:
            glance = await stats.glance(self._state.redis)
            if not glance.cause:
                of_streams = known.warnings[len(eviction.warnings(known.eviction_policy)) :]
                return Queue({}, True, None, glance.eviction_policy, (*glance.warnings, *of_streams))
            # It may only have closed a connection that was idle: the thorough look tells what is wrong.
        ours = None
        with suppress(PyMongoError, SchemaError), pymongo.timeout(self._state.settings.api_probe_seconds):
            ours = await own(self._state.database)
        self._queue = await stats.queue(self._state.redis, self._state.streams_now, ours)
        self._queue_looked = time.monotonic()
        return self._queue

"""Advice: what an operator should change although everything works so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from outbox.database import Database
from outbox.errors import SchemaError
from outbox.message import schema
from outbox.servers import eviction
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Streams
from outbox_relay.service import Next

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0

NOTHING = (
    "nothing is drained here: none of the streams in OUTBOX_RELAY_STREAMS is registered any more. Register one of them "
    "again with `outbox init`, or start this relay with others"
)


@dataclass(frozen=True, slots=True)
class Looked:
    """What is to be said about the servers."""

    warnings: tuple[str, ...]

    @property
    def next(self) -> Next:
        return Next.WAIT


class Advice:
    """Looks at how both servers are set up, at the start and then once a minute, and says each thing once."""

    def __init__(self, database: Database, redis: AnyRedis, streams: Streams) -> None:
        self._database = database
        self._redis = redis
        self._streams = streams
        self.warnings: Sequence[str] = ()

    async def run_once(self) -> Looked:
        found = tuple(eviction.warnings(await eviction.policy(self._redis)))
        try:
            await schema.check(self._database, self._streams)
        except SchemaError as error:
            found += (str(error),)
        if not self._streams:
            found += (NOTHING,)
        for warning in found:
            if warning not in self.warnings:
                log.warning(warning)
        self.warnings = found
        return Looked(found)

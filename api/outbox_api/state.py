"""What the application opens at its start and every request shares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

import pymongo
from fastapi import Depends, Request
from pymongo import AsyncMongoClient

from outbox.append import Outbox
from outbox.database import Database, Document
from outbox.errors import SchemaError
from outbox.message import schema
from outbox.servers.topology import AnyRedis
from outbox.streams import agreement, registry
from outbox.streams.declaration import FILE_STREAM, Streams
from outbox.streams.registry import Registered
from outbox_api.access import Access
from outbox_api.collections import FILES_APPLICATION
from outbox_api.guesses import Guesses
from outbox_api.settings import ApiSettings


@dataclass(slots=True)
class Gate:
    """Whether the schema and the registered streams have been found to be as they should. Until then nothing may be
    written.

    Without it, an upload would create collections that `outbox init` has not set up, without validator and indexes.
    """

    database: Database
    streams: Registered
    """Those of the settings, until the registered ones are read: then, and with each later check, those."""
    explicit: bool
    """Whether the settings declare streams, so that they could be wrong."""
    passed: bool = False

    async def check(self) -> None:
        """Raises SchemaError, its kind WrongDeclaration, or what MongoDB raises."""
        if self.passed:
            registered = await registry.read(self.database)
        else:
            registered = await registry.agree(self.database, self.streams, explicit=self.explicit, needs=FILE_STREAM)
            if self.explicit:
                agreement.warn(self.streams, registered)
        if registered:
            self.streams.take(registered)
        await schema.check(self.database, self.streams, FILES_APPLICATION)
        self.passed = True

    async def refresh(self) -> None:
        """Take in what was registered since; until the gate was passed, nothing. Raises what MongoDB raises.

        What cannot be understood is left to readiness, which names it.
        """
        if self.passed:
            with suppress(SchemaError):
                if registered := await registry.read(self.database):
                    self.streams.take(registered)

    async def require(self) -> None:
        """The same, until it was once found complete."""
        if not self.passed:
            await self.check()


@dataclass(frozen=True, slots=True)
class State:
    settings: ApiSettings
    access: Access
    streams: Streams
    mongo: AsyncMongoClient[Document]
    database: Database
    redis: AnyRedis
    redis_address: str
    outbox: Outbox
    replay_rate: float
    guesses: Guesses
    gate: Gate = field(compare=False)


async def current(request: Request) -> State:
    state: State = request.state.api
    return state


Current = Annotated[State, Depends(current)]


async def bounded(state: Current) -> AsyncIterator[None]:
    """A dependency: all that the request asks of MongoDB takes `api_read_seconds` at most."""
    with pymongo.timeout(state.settings.api_read_seconds):
        yield


Bounded = Depends(bounded)

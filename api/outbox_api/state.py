"""What the application opens at its start and every request shares."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Annotated

import pymongo
from fastapi import Depends, Request
from pymongo import AsyncMongoClient

from outbox.append import Outbox
from outbox.database import Database, Document
from outbox.errors import NoSuchPriority, SchemaError, UndeclaredStream, WrongDeclaration
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
        if FILE_STREAM not in self.streams:
            raise self._unregistered()
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
        """The same, until it was once found complete, and while the stream for files is not registered any more."""
        if not self.passed or FILE_STREAM not in self.streams:
            await self.check()

    @contextmanager
    def appending(self) -> Iterator[None]:
        """Around what appends to the stream for files: raises WrongDeclaration when it is not registered any more.

        That is for an operator to mend, and no mistake of who uploads.
        """
        try:
            yield
        except NoSuchPriority:
            raise
        except UndeclaredStream:
            raise self._unregistered() from None

    def _unregistered(self) -> WrongDeclaration:
        return WrongDeclaration(agreement.unregistered(FILE_STREAM, self.streams))


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

    @property
    def streams_now(self) -> Streams:
        """The streams as they are: for what reads much of them, while `streams` may become others."""
        return copy(self.streams)


async def current(request: Request) -> State:
    state: State = request.state.api
    return state


Current = Annotated[State, Depends(current)]


async def bounded(state: Current) -> AsyncIterator[None]:
    """A dependency: all that the request asks of MongoDB takes `api_read_seconds` at most."""
    with pymongo.timeout(state.settings.api_read_seconds):
        yield


Bounded = Depends(bounded)

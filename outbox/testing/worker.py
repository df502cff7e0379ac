"""The worker of a test: the library's own way with a message, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bson import ObjectId
from pymongo import AsyncMongoClient

from outbox.database import OUTBOX, Database, Document
from outbox.delivery.entries import OURS, Entries, Entry, not_there
from outbox.errors import NoSuchMessage, UsageError
from outbox.message.document import State
from outbox.protocol.ownership import Ownership
from outbox.servers.connections import connect_redis, lend_mongo, lend_mongo_sync, open_database
from outbox.servers.disconnections import Disconnections
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Stream, Streams
from outbox.worker.batches import Batches
from outbox.worker.completion import Superseded
from outbox.worker.consumer import MANY
from outbox.worker.failures import Failed
from outbox.worker.hand import Hand
from outbox.worker.handlers import Handlers
from outbox.worker.locks import Locks
from outbox.worker.message import Message
from outbox.worker.patience import Patience
from outbox.worker.release import release
from outbox.worker.settlement import Settlement
from outbox.worker.work import Work

MOST = 1000
"""Messages that one `work` handles."""

Client = AsyncMongoClient[Document]


class Worker:
    """Connects for each call, in the event loop of whoever calls."""

    def __init__(self, settings: OutboxSettings, streams: Streams) -> None:
        self._settings = settings
        self._streams = streams

    async def run(self, handlers: Handlers, id_: ObjectId, client: Client | None, resources: object) -> None:
        """Call the handler once, and complete the message.

        Raises what the handler raises, UsageError and NoSuchMessage.
        """
        async with self._working(client, resources) as (work, database):
            document = await database[OUTBOX].find_one({"_id": id_})
            if document is None:
                raise NoSuchMessage(f"message {id_} is not in the outbox")
            state = State(document["state"])
            if state not in (State.PENDING, State.PUBLISHED):
                raise UsageError(f"message {id_} is {state}, and a handler is called with one that is due")
            attempt = document["attempts"] + (state is State.PENDING)
            stream = self._streams[document["stream"]]
            try:
                message = Message.of(document, attempt, stream.subject)
                await work.do(handlers.choose(message), stream, [message], Hand(stream.handler_seconds))
            except Failed as failed:
                raise failed.error from None
            except Superseded:
                raise UsageError(f"message {id_} got another outcome while its handler was called") from None

    async def work(
        self,
        handlers: Handlers,
        names: Sequence[str],
        drain: Callable[[], Awaitable[int]],
        handled: set[ObjectId],
        client: Client | None,
        resources: object,
    ) -> list[ObjectId]:
        """The ids of the messages that handlers were called with, in the order of the calls; `handled` gets them too.

        One after the other, but for handlers that take many.
        """
        streams = [stream for name in names for stream in self._streams.family(name)] or list(self._streams.values())
        calls: list[ObjectId] = []
        many = any(handler.many for handler in handlers)
        async with self._working(client, resources) as (work, database), connect_redis(self._settings) as redis:
            ownership = await Ownership.checked(database, redis, streams)
            never = asyncio.Event()
            batches, patience = Batches(work, most=MANY if many else 1), Patience()
            settlement = Settlement(database, work, batches, patience, ownership, lambda _: False, never, never)
            entries = Entries(redis, f"{OURS}testing")
            while True:
                await drain()
                found = await _read(entries, streams)
                if not found:
                    return calls
                assert len(calls) < MOST, f"after {len(calls)} messages there is still something left"
                for together in [found] if many else [[entry] for entry in found]:
                    hands = [(entry, Hand(entry.stream.handler_seconds)) for entry in together]
                    ends = await asyncio.gather(*(settlement.settle(*each, handlers.choose) for each in hands))
                    for entry, end in zip(together, ends, strict=True):
                        await release(entries, ownership, entry, end)
                    calls += [entry.sent.id for entry in together if entry.sent]
                    handled.update(calls)
        raise AssertionError

    @asynccontextmanager
    async def _working(self, client: Client | None, resources: object) -> AsyncIterator[tuple[Work, Database]]:
        if client is None:
            async with lend_mongo(self._settings) as made, self._working(made, resources) as working:
                yield working
            return
        place = self._settings.place
        database = open_database(client, place)
        locks = Locks(database, f"{OURS}testing", silent_seconds=60.0)
        work = Work(
            client, place, partial(lend_mongo_sync, self._settings), locks, Disconnections(), threads=1, slots=MANY
        )
        work.resources = resources
        try:
            yield work, database
        finally:
            work.threads.close()


async def _read(entries: Entries, streams: Sequence[Stream]) -> list[Entry]:
    """What nobody was given yet."""
    found: list[Entry] = []
    for stream in streams:
        try:
            found += await entries.read([stream], MOST)
        except Exception as error:
            if not not_there(error):  # nothing was ever published to it
                raise
    return found

"""Processing: entries that a consumer has read are kept alive, brought to their outcome, and acknowledged.

Whoever reads the entries: `Consumer` does, and so may the subscribers of another framework.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from outbox.database import Database
from outbox.delivery.entries import Entries, Entry
from outbox.errors import ForeignStream
from outbox.protocol.ownership import Ownership
from outbox.servers.connections import connect_redis, lend_mongo, lend_mongo_sync, open_database
from outbox.servers.disconnections import Disconnections
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Stream
from outbox.worker.aside import Aside
from outbox.worker.batches import Batches
from outbox.worker.hand import Hand
from outbox.worker.handler import Handler
from outbox.worker.handlers import Handlers
from outbox.worker.lane import Lane, lanes_of
from outbox.worker.lifespan import Lifespan, entered
from outbox.worker.locks import Locks, connection_name
from outbox.worker.message import Message
from outbox.worker.naming import new_name
from outbox.worker.patience import OutOfTime, Patience
from outbox.worker.pausing import Pausing
from outbox.worker.presence import Presence
from outbox.worker.pulse import Pulse
from outbox.worker.reading import streams_to_read
from outbox.worker.release import leave, release
from outbox.worker.settlement import Settlement
from outbox.worker.signs import Signs
from outbox.worker.tries import Count
from outbox.worker.work import Work

log = structlog.get_logger(__name__)

AHEAD_SECONDS = 0.1
"""Messages that take no longer are read ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How entries are worked on; see `Consumer` for what each means."""

    streams: Sequence[Stream | str] | None = None
    group: str | None = None
    name: str = field(default_factory=new_name)
    concurrency: int = 10
    batch: int = 10
    silent_seconds: float = 30.0
    stop_seconds: float = 25.0
    handler_seconds: float | None = None
    own_process: bool = False
    count: Count | None = None

    def limit_of(self, stream: Stream) -> float:
        """How long one call of a handler may take that says nothing itself, in seconds; 0 is no limit."""
        return stream.handler_seconds if self.handler_seconds is None else self.handler_seconds


class Processing:
    """What is in flight at one consumer. Made by `opened`."""

    def __init__(
        self,
        options: Options,
        handlers: Handlers,
        streams: tuple[Stream, ...],
        *,
        database: Database,
        entries: Entries,
        work: Work,
        settlement: Settlement,
        ownership: Ownership,
        pausing: Pausing,
        pulse: Pulse,
        patience: Patience,
        stop: asyncio.Event,
        late: asyncio.Event,
    ) -> None:
        self.options = options
        self.streams = streams
        self.entries = entries
        self.work = work
        self.patience = patience
        self.pausing = pausing
        self.aside = Aside(entries)
        self.lanes: dict[Stream, Lane] = lanes_of(streams, apart=entries.apart)
        self.stop = stop
        """Set: nothing new is begun."""
        self.late = late
        """Set: nothing is waited for any more."""
        self.free = work.isolation.free
        """Set whenever there may be room for more, and at a stop."""
        self.hands: dict[tuple[Stream, str], Hand] = {}
        self.failure: BaseException | None = None
        self._handlers = handlers
        self._many = any(handler.many for handler in handlers)
        self.presence = Presence(database, options.name, streams, self.hands, options.concurrency)
        self._settlement = settlement
        self._ownership = ownership
        self._pulse = pulse
        self._unsettled = 0
        self.mean_seconds = 0.0
        """How long a message takes of late, the last ones counting most."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ahead(self) -> int:
        """How many are looked at before there is a hand for them, while messages take a moment each.

        What takes longer is left to others meanwhile. No more than a few for each hand: if the process is killed, each
        of them is handled alone. None where a handler takes many, whose next batch is in flight already.
        """
        if self._many or not 0 < self.mean_seconds < AHEAD_SECONDS:
            return 0
        return 2 * min(self.options.batch, self.options.concurrency)

    @property
    def room(self) -> int:
        """How many more may be begun. What only waits to be acknowledged takes none: its server may be away."""
        return self.options.concurrency + self.ahead + self.work.isolation.resting - self._unsettled

    @property
    def has_suspect(self) -> bool:
        """Whether a message is in flight that may have killed its worker: then nothing else is to be."""
        return any(hand.suspect is not None and not hand.rests for hand in self.hands.values())

    def begin(self, entry: Entry, choose: Callable[[Message], Handler] | None = None) -> asyncio.Task[None] | None:
        """Work on an entry that this consumer was given, until it is acknowledged or left to others.

        :param choose: the handler for its message, instead of those that were given at the start.
        :returns: None when it is in flight already: an operator has set the group back.
        """
        key = (entry.stream, entry.id)
        if key in self.hands:
            return None
        hand = Hand(self.options.limit_of(entry.stream), entry.suspect, entry.sent)
        if self.stop.is_set():
            hand.abandon()  # read while the stop came: given back at once
        self.hands[key] = hand
        self._pulse.begin(*key, self._longest_of(entry.stream))
        self._unsettled += 1
        task = asyncio.create_task(self._deal_with(entry, hand, choose or self._handlers.choose))
        self._tasks.add(task)
        task.add_done_callback(partial(self._let_go, key))
        return task

    def _longest_of(self, stream: Stream) -> float:
        """How long any handler may take; 0 is no limit."""
        own = [handler.seconds for handler in self._handlers if handler.seconds is not None]
        limits = [self.options.limit_of(stream), *own]
        return 0.0 if 0 in limits else max(limits)

    def _let_go(self, key: tuple[Stream, str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.hands.pop(key, None)
        self._pulse.end(*key)
        self.free.set()
        if not task.cancelled() and (error := task.exception()):
            self.fail(error)

    async def _deal_with(self, entry: Entry, hand: Hand, choose: Callable[[Message], Handler]) -> None:
        settle = partial(self._settlement.settle, entry, hand, choose)
        try:
            try:
                end = await self.patience.wait(settle, self.late)
            finally:
                self._unsettled -= 1
                self.mean_seconds += 0.1 * (time.monotonic() - hand.began - self.mean_seconds)
                hand.suspect = None  # others may be taken again, though its acknowledgement may take long
                hand.settled = True
                self.free.set()
            await self.patience.wait(partial(release, self.entries, self._ownership, entry, end), self.late)
        except OutOfTime:
            pass  # the consumer stops
        except ForeignStream as error:  # since the start; its entries are left to its own workers
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the consumer for this reason."""
        self.failure = error
        self.end()

    def end(self) -> None:
        """Begin nothing new from now on."""
        self.stop.set()
        self.free.set()

    @asynccontextmanager
    async def signs_of_life(self) -> AsyncIterator[None]:
        """Gives them meanwhile; at the end, what is in flight is finished, or given back after `stop_seconds`."""
        signs = Signs(
            self.entries, self._pulse, self.patience, self.hands, self.late, self.options.silent_seconds
        )  # fmt: skip
        if await self.presence.begin() and not self.presence.shared:
            await self.work.locks.end_of_predecessor()
        async with asyncio.TaskGroup() as group:
            beating = [group.create_task(signs.give(stream)) for stream in self.streams]
            beating.append(group.create_task(signs.live()))
            watching = group.create_task(self.pausing.watch())
            group.create_task(self.presence.keep(self.late))
            try:
                yield
            except BaseException:
                await self._cancel()
                raise
            else:
                self.stop.set()
                await self._finish()
            finally:
                self.late.set()  # what is in flight still, because a server is away, is found by its silence
                for task in (*beating, watching):
                    task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await leave(self.entries, self.streams)

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _finish(self) -> None:
        if self._tasks:
            log.info("worker stopping", in_flight=len(self._tasks), seconds=self.options.stop_seconds)
            await asyncio.wait(self._tasks, timeout=self.options.stop_seconds)
        for hand in self.hands.values():
            hand.abandon()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)


@asynccontextmanager
async def opened(
    settings: OutboxSettings,
    options: Options,
    handlers: Handlers,
    lifespan: Lifespan | None,
    *,
    stop: asyncio.Event,
) -> AsyncIterator[Processing | None]:
    """Connected to both servers, as soon as they can be reached; None: `stop` came before.

    :raises ForeignStream: a stream belongs to another outbox, whose entries are left as they are.
    :raises SchemaError: the database has no outbox; its kind WrongDeclaration, when the settings, or `streams`, say
        something else of a stream than is registered.
    :raises UndeclaredGroup: a stream is not declared for the group.
    """
    patience, late = Patience(), asyncio.Event()
    async with AsyncExitStack() as stack:
        connections, disconnections = 2 * options.concurrency, Disconnections()
        known: Any = {"name": connection_name(options.name, settings.place), "disconnections": disconnections}
        client = await stack.enter_async_context(lend_mongo(settings, connections=connections, **known))
        redis = connect_redis(settings)
        stack.push_async_callback(redis.aclose)
        database = open_database(client, settings.place)
        lend_sync = partial(lend_mongo_sync, settings, **known)
        locks = Locks(database, options.name, silent_seconds=options.silent_seconds)
        work = Work(client, settings.place, lend_sync, locks, disconnections, threads=options.concurrency)
        stack.callback(work.threads.close)
        try:
            look = partial(streams_to_read, database, settings, options.streams, options.group)
            streams = await patience.wait(look, stop)
            pulse = Pulse(settings, streams, options.name, options.silent_seconds, options.own_process)
            stack.callback(pulse.close)
            ownership = await patience.wait(partial(Ownership.checked, database, redis, streams), stop)
            pausing = Pausing(database, patience, stop)
            await patience.wait(pausing.look, stop)
        except OutOfTime:
            yield None
            return
        work.resources = await stack.enter_async_context(entered(lifespan, client, work.threads))
        batches = Batches(work, most=options.batch, paused=pausing)
        stack.push_async_callback(batches.cancel)  # before the lifespan ends, and the client is closed
        settlement = Settlement(database, work, batches, patience, ownership, pausing, stop, late, options.count)
        pulse.beat()
        await pulse.ready()
        yield Processing(
            options, handlers, streams, database=database, entries=Entries(redis, options.name), work=work,
            settlement=settlement, ownership=ownership, pausing=pausing, pulse=pulse, patience=patience, stop=stop,
            late=late,
        )  # fmt: skip

"""The consumer: reads entries, has several in hand, gives signs of life, and takes over from those that are gone."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from outbox.delivery.entries import OURS, Entries, Entry
from outbox.errors import ForeignStream
from outbox.protocol.ownership import Ownership
from outbox.servers.connections import connect_mongo, connect_mongo_sync, connect_redis, open_database
from outbox.servers.waiting import first
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Stream
from outbox.worker.claims import Claims
from outbox.worker.failures import TooManyLeft
from outbox.worker.hand import Hand
from outbox.worker.handler import Handler
from outbox.worker.lane import Lane, lanes_of, read_in_order
from outbox.worker.patience import OutOfTime, Patience
from outbox.worker.pausing import Pausing
from outbox.worker.presence import Presence
from outbox.worker.pulse import Pulse
from outbox.worker.reading import in_order, streams_to_read
from outbox.worker.release import leave, release
from outbox.worker.settlement import Settlement
from outbox.worker.signs import Signs
from outbox.worker.work import Work

log = structlog.get_logger(__name__)

BLOCK_SECONDS = 1.0
"""How long one read waits for an entry, and so how late a stop is noticed."""
PAUSED_BLOCK_SECONDS = 0.25
"""The same while a stream is paused, and so how late it is noticed that it goes on."""
ANSWER_SECONDS = 0.25
"""How long the others wait for one server's answer, in a cluster. A server that is away is waited for beside them."""


class Consumer:
    """Applies each message of some streams once: its handler's writes and its completion are one transaction.

    Any number of consumers may read the same streams, and other workers beside them:

        consumer = Consumer(settings, handle)
        await consumer.run()            # until consumer.stop()
    """

    def __init__(
        self,
        settings: OutboxSettings,
        handler: Callable[..., Any] | Handler,
        *,
        streams: Sequence[Stream | str] | None = None,
        group: str | None = None,
        order: Callable[[], Sequence[Stream]] | None = None,
        name: str | None = None,
        concurrency: int = 10,
        batch: int = 10,
        silent_seconds: float = 30.0,
        stop_seconds: float = 25.0,
        handler_seconds: float | None = None,
        own_process: bool = False,
    ) -> None:
        """Connects to nothing yet.

        :param handler: `handle(message, session)`, plain or async. With `handle(message)`, it is called at least once
            for each message, and the message is completed after it.
        :param streams: those to read, or names, each with its priorities and shards; by default all that the settings
            declare. As they are registered in the database, when it is reached.
        :param group: of the streams' groups, the one to read as; needed where a stream is declared with several.
        :param order: called before each read: the streams in the order to look; by default urgent ones mostly first.
        :param name: of this consumer in the group; by default a new one at each start.
        :param concurrency: how many messages are worked on at a time.
        :param batch: how many entries one read takes, at most.
        :param silent_seconds: after which another consumer that gives no sign of life is taken for dead, and its
            entries are taken over. Each gives three in that time.
        :param stop_seconds: from `stop` until what is still worked on is given back.
        :param handler_seconds: how long one call of the handler may take, instead of what each stream declares; 0 is no
            limit. After it, an async one is cancelled, a thread is left, and the attempt has failed.
        :param own_process: nothing else is done in this process, so it may be killed when a handler has let nothing
            else run for longer than it may take. Without, its entries are left to others then.
        :raises UsageError: the handler cannot be called with a message.
        """
        self._settings = settings
        self._handler = handler if isinstance(handler, Handler) else Handler.of(handler)
        self._chosen, self._group = streams, group
        self._streams: tuple[Stream, ...] = ()
        self._given_order = order
        self.name = OURS + (name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}").removeprefix(OURS)
        self._concurrency = concurrency
        self._batch = batch
        self._silent_seconds = silent_seconds
        self._stop_seconds = stop_seconds
        self._handler_seconds = handler_seconds
        self._own_process = own_process
        self._stop = asyncio.Event()
        self._late = asyncio.Event()
        self._patience = Patience()
        self._hands: dict[tuple[Stream, str], Hand] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()
        self._failure: TooManyLeft | ForeignStream | None = None
        self._looked = asyncio.Event()
        self._slots = asyncio.Semaphore(concurrency)
        self._unsettled = 0
        self._lanes: dict[Stream, Lane] = {}
        self._work: Work | None = None

    def stop(self) -> None:
        """Take nothing new, finish what is in hand or give it back, and let `run` return."""
        self._stop.set()

    @property
    def left_handlers(self) -> int:
        """How many handlers are still at work though nobody waits for them: time was up, or they were given back."""
        return len(self._work.left) if self._work else 0

    def limit_of(self, stream: Stream) -> float:
        """How long one call of the handler may take for a message of `stream`, in seconds; 0 is no limit."""
        return stream.handler_seconds if self._handler_seconds is None else self._handler_seconds

    async def run(self) -> None:
        """Work until `stop`, through outages of both servers.

        :raises TooManyLeft: as many handlers as it works on at a time did not end when their time was up.
        :raises ForeignStream: a stream belongs to another outbox, whose entries are left as they are.
        :raises SchemaError: the database has no outbox; its kind WrongDeclaration, when the settings, or `streams`, say
            something else of a stream than is registered.
        :raises UndeclaredGroup: a stream is not declared for the group.
        """
        async with (
            connect_mongo(self._settings, connections=2 * self._concurrency) as client,
            connect_redis(self._settings) as redis,
        ):
            database = open_database(client, self._settings.place)
            look = partial(streams_to_read, database, self._settings, self._chosen, self._group)
            with suppress(OutOfTime):
                self._streams = await self._patience.wait(look, self._stop)
            if not self._streams:
                return
            self._order = in_order(self._streams, self._given_order)
            self._pulse = Pulse(self._settings, self._streams, self.name, self._silent_seconds, self._own_process)
            self._entries = Entries(redis, self.name)
            self._lanes = lanes_of(self._streams, apart=self._entries.apart)
            self._pausing = Pausing(database, self._patience, self._stop)
            self._presence = Presence(database, self.name, self._streams, self._hands, self._concurrency)
            self._claims = Claims(self._entries, self._hands, self._pausing, silent_seconds=self._silent_seconds)
            self._work = work = Work(
                self._handler,
                client,
                self._settings.place,
                partial(connect_mongo_sync, self._settings),
                threads=self._concurrency,
            )
            streams = [stream.name for stream in self._streams]
            log.info("worker started", consumer=self.name, streams=streams, concurrency=self._concurrency)
            try:
                with suppress(OutOfTime):
                    checked = partial(Ownership.checked, database, redis, self._streams)
                    self._ownership = await self._patience.wait(checked, self._stop)
                    self._settlement = Settlement(
                        database, work, self._patience, self._ownership, self._pausing, self._stop, self._late
                    )
                    await self._patience.wait(self._pausing.look, self._stop)
                    self._pulse.beat()
                    await self._pulse.ready()
                    await self._run()
            finally:
                self._pulse.close()
                work.close()
            log.info("worker stopped", consumer=self.name)
        if self._failure:
            raise self._failure

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            lanes = dict.fromkeys(self._lanes.values())
            signs = Signs(self._entries, self._pulse, self._patience, self._hands, self._late, self._silent_seconds)
            beating = [group.create_task(signs.give(lane), name="signs of life") for lane in lanes]
            group.create_task(self._pausing.watch(), name="pauses")
            group.create_task(self._presence.keep(self._late), name="presence")
            with suppress(OutOfTime):
                while not self._stop.is_set():
                    await self._patience.wait(partial(self._take, group), self._stop)
            if looking := [lane.looking for lane in lanes if lane.looking]:
                for late in (await asyncio.wait(looking, timeout=BLOCK_SECONDS + ANSWER_SECONDS))[1]:
                    late.cancel()  # its server is away; what it may have given us is found by our silence
            if self._tasks:
                log.info("worker stopping", in_flight=len(self._tasks), seconds=self._stop_seconds)
                await asyncio.wait(self._tasks, timeout=self._stop_seconds)
            for hand in self._hands.values():
                hand.abandon()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=5)
            self._late.set()  # what is in flight still, because a server is away, is found by its silence
            for beat in beating:
                beat.cancel()
        await leave(self._entries, self._streams)

    async def _take(self, group: asyncio.TaskGroup) -> None:
        """One round: take what has been abandoned, then what is new, as far as there are hands free."""
        self._free.clear()
        self._looked.clear()
        if self.left_handlers >= self._concurrency:
            self._fail(TooManyLeft(self.left_handlers))
            return
        if self._room <= 0 or any(hand.suspect is not None for hand in self._hands.values()):
            # A suspect is to be alone, and what was taken beside it would become suspect too if it kills.
            await first(self._free, self._stop, seconds=None)
            return
        self._pausing.resumed.clear()
        streams = [stream for stream in self._order() if not self._pausing(stream)]
        if not streams:
            await first(self._pausing.resumed, self._stop, seconds=None)
            return
        if not self._entries.apart:
            [lane] = set(self._lanes.values())
            await self._look(group, lane, streams, 0)
            return
        for block_seconds in (0, self._block_seconds):
            for stream in streams:
                lane = self._lanes[stream]
                if lane.looking or self._room <= 0:
                    continue  # that server is asked, or away
                looking = group.create_task(self._look_alone(group, lane, block_seconds), name=f"look {stream.name}")
                lane.looking = looking
                if not block_seconds:
                    await asyncio.wait({looking}, timeout=ANSWER_SECONDS)
                    if looking.done() and looking.result():
                        return
        await first(self._looked, self._free, self._stop, seconds=None)

    async def _look_alone(self, group: asyncio.TaskGroup, lane: Lane, block_seconds: float) -> int:
        """Look for entries of one lane, for as long as its server is away; returns how many were taken."""
        try:
            return await self._patience.wait(partial(self._look, group, lane, lane.streams, block_seconds), self._stop)
        except OutOfTime:
            return 0
        finally:
            lane.looking = None
            self._looked.set()

    async def _look(self, group: asyncio.TaskGroup, lane: Lane, streams: Sequence[Stream], block_seconds: float) -> int:
        # While others are looked at as well, one entry each: there may be no hands free for more.
        room = 1 if block_seconds else max(1, self._room)
        try:
            found = await self._claims.find(lane, room) if time.monotonic() >= lane.claims_at else []
            self._begin(group, found)
            if not found:
                count = min(room, self._batch)
                if self._entries.apart:
                    found = await self._entries.read(streams, count, block_seconds=block_seconds)
                else:
                    found = await read_in_order(self._entries, streams, count, block_seconds=self._block_seconds)
                self._begin(group, found)
        except Exception:
            lane.claims_at = 0.0  # a reply that was lost may have given us entries
            lane.trusts_at = time.monotonic() + self._silent_seconds
            raise
        return len(found)

    @property
    def _block_seconds(self) -> float:
        return PAUSED_BLOCK_SECONDS if self._pausing.any else BLOCK_SECONDS

    @property
    def _room(self) -> int:
        """How many hands are free. What only waits to be acknowledged keeps none: its server may be away for long."""
        return self._concurrency - self._unsettled

    def _begin(self, group: asyncio.TaskGroup, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if (entry.stream, entry.id) in self._hands:
                continue  # an operator has set the group back
            hand = Hand(self.limit_of(entry.stream), entry.suspect, entry.sent)
            if self._stop.is_set():
                hand.abandon()  # read while the stop came: given back at once
            self._hands[entry.stream, entry.id] = hand
            self._pulse.begin(entry.stream, entry.id, hand.limit_seconds)
            self._unsettled += 1
            task = group.create_task(self._deal_with(entry, hand), name=f"{entry.stream.name} {entry.id}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._let_go, (entry.stream, entry.id)))

    def _let_go(self, key: tuple[Stream, str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._hands.pop(key, None)
        self._pulse.end(*key)
        self._free.set()

    async def _deal_with(self, entry: Entry, hand: Hand) -> None:
        try:
            try:
                async with self._slots:
                    end = await self._patience.wait(partial(self._settlement.settle, entry, hand), self._late)
            finally:
                self._unsettled -= 1
                hand.suspect = None  # others may be taken again, though its acknowledgement may take long
                self._free.set()
            await self._patience.wait(partial(release, self._entries, self._ownership, entry, end), self._late)
        except OutOfTime:
            pass  # the consumer stops
        except ForeignStream as error:  # since the start; its entries are left to its own workers
            self._fail(error)

    def _fail(self, error: TooManyLeft | ForeignStream) -> None:
        self._failure = error
        self.stop()

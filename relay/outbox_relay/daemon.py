"""The daemon: what a relay is made of, how it starts, and in which order it stops."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from weakref import WeakSet

import structlog
from pymongo import AsyncMongoClient

from outbox.database import Database, Document
from outbox.operations import downtime
from outbox.protocol import changes
from outbox.protocol.checkpoint import Checkpoints
from outbox.protocol.leases import Lease, Leases
from outbox.protocol.losses import Losses
from outbox.protocol.ownership import own
from outbox.protocol.store import Store
from outbox.servers.connections import connect_mongo, connect_redis, open_database
from outbox.servers.timed_jobs import Jobs
from outbox.servers.topology import AnyRedis
from outbox.settings import OutboxSettings
from outbox.streams import pauses
from outbox.streams.declaration import Streams
from outbox.worker.rescue import Rescue
from outbox_relay import advice as advising
from outbox_relay import backlog, once, probes
from outbox_relay.advice import Advice
from outbox_relay.backlog import Backlog
from outbox_relay.busy import Busy
from outbox_relay.declarations import Declarations
from outbox_relay.drained import Drained, Outcome
from outbox_relay.drainer import Drainer
from outbox_relay.jobs import add_all
from outbox_relay.leaser import Leaser
from outbox_relay.marks import Marks
from outbox_relay.metrics import Metrics
from outbox_relay.notices import Notices
from outbox_relay.outage import Outages, Probe
from outbox_relay.pausing import Pausing
from outbox_relay.recovery import Recovery
from outbox_relay.replays import LOOK_SECONDS as REPLAYS_SECONDS
from outbox_relay.replays import Replays
from outbox_relay.rescuer import Rescuer, interval
from outbox_relay.service import Pass, Service
from outbox_relay.settings import RelaySettings
from outbox_relay.staging import Staging
from outbox_relay.startup import refuse_what_cannot_be_confirmed, unless_stopped, wait_for_schema
from outbox_relay.tail import Tail
from outbox_relay.trimmer import Trimmer
from outbox_relay.wakeup import Hints, Sweep
from outbox_relay.watch import Watch

log = structlog.get_logger(__name__)

CONNECTIONS = 10_000
"""Connections to MongoDB at most. Each drainer has one, and how many there will be is not known at the start."""

IDLE_SECONDS = 15.0
"""How long a drainer with nothing to do waits for the sweep, a hint or the watch before the next pass."""


class Relay:
    """One relay process.

    Around the leaser, which starts a drainer for each partition it holds, stand services that wake the drainers, timed
    jobs, and the probes, which answer from the start. A service that fails by a defect of ours is tried again, as one
    that a server lets down: the others go on, and the relay is unready and says so until it works.
    """

    def __init__(
        self,
        settings: RelaySettings,
        outbox_settings: OutboxSettings,
        *,
        listen: socket.socket,
        until_empty: bool = False,
    ) -> None:
        self._settings = settings
        self._outbox_settings = outbox_settings
        self._listen = listen
        self._until_empty = until_empty
        self._addresses = {"mongodb": outbox_settings.mongodb_address, "redis": outbox_settings.redis_address}
        self._me = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._metrics = Metrics()
        self._stop = asyncio.Event()
        self._leaser: Leaser | None = None
        self._advice: Advice | None = None
        self._pausing: Pausing | None = None

    def stop(self) -> None:
        """Take nothing new, finish the current batches, give the partitions back, then leave."""
        self._stop.set()

    async def run(self) -> None:
        """Drain until `stop`.

        :raises SchemaError: the database is not set up; its kind WrongDeclaration, when OUTBOX_STREAMS contradicts it.
        :raises SettingsError: OUTBOX_RELAY_STREAMS names a stream that is not registered, or Redis cannot confirm as
            OUTBOX_RELAY_CONFIRM asks.
        :raises Unreachable, GaveUp: only with `until_empty`; otherwise all that fails is tried again, for ever.
        """
        async with (
            connect_mongo(self._outbox_settings, connections=CONNECTIONS) as client,
            connect_redis(self._outbox_settings) as redis,
        ):
            database: Database = open_database(client, self._outbox_settings.place)
            declarations = Declarations(database, self._outbox_settings, self._settings.drains)
            store = Store(database)
            ping: dict[str, Probe] = {"mongodb": partial(client.admin.command, "ping"), "redis": redis.ping}
            outages = Outages(ping, store.count_pending, partial(downtime.record, database))
            self._metrics.watch(outages.seconds)

            async def start() -> None:
                ready = wait_for_schema(database, declarations, outages)
                await (once.patiently(ready, outages, self._addresses) if self._until_empty else ready)
                await refuse_what_cannot_be_confirmed(redis, self._settings.relay_confirm)

            try:
                async with self._probes(outages):
                    if await unless_stopped(self._stop, start()):
                        await self._serve(client, redis, store, declarations, outages)
            finally:
                outages.close()

    async def _serve(
        self,
        client: AsyncMongoClient[Document],
        redis: AnyRedis,
        store: Store,
        declarations: Declarations,
        outages: Outages,
    ) -> None:
        settings, database = self._settings, open_database(client, self._outbox_settings.place)
        streams = declarations.streams
        leases = Leases(database, streams, self._me, seconds=settings.relay_lease_seconds)
        # Whoever waits for the outbox to be empty does not wait for workers.
        ours = await own(database)
        checkpoints = Checkpoints(redis, streams, ours, settings.relay_confirm, bounded=not self._until_empty)
        busy, services = Busy(), WeakSet[Service]()
        recovery = Recovery(database, store, Losses(database, streams), checkpoints, leases, many=busy.backlog)

        def service(name: str, run_once: Callable[[], Awaitable[Pass]], interval: float = 1.0) -> Service:
            made = Service(name, run_once, outages, interval=interval, observe=self._metrics.observe)
            services.add(made)
            return made

        def drain(lease: Lease) -> tuple[Service, asyncio.Task[None]]:
            inbox = tail.inbox(lease.partition)
            drainer = Drainer(lease, leaser.trusted, *tools, inbox, marks, pausing.fresh)

            async def run_once() -> Drained:
                drained = await busy.watch(lease.partition, drainer.run_once)
                if drained.outcome is Outcome.REFUSED:
                    # What one has lost, the others have lost too, more often than not.
                    watch.hurry()
                    watching.wake()
                return drained

            def done() -> None:
                tail.leave(lease.partition, inbox)
                busy.leave(lease.partition)
                leasing.wake()

            draining = service(f"drain {lease.partition}", run_once, IDLE_SECONDS)
            drained = _drain(drainer, draining, watch, done=done)
            try:
                return draining, group.create_task(drained, name=draining.name)
            except RuntimeError:  # the group ends by a defect
                drained.close()
                raise

        staging = Staging(database, lambda: messages.working(), seconds=settings.relay_stage_seconds)
        tail = Tail(lambda partitions: leaser.wake(partitions), staging.look_again)
        marks = Marks(client, leases, store, lambda partitions: leaser.wake(partitions))
        tools = (client, store, checkpoints, leases, recovery, settings)

        def about() -> Document:
            return {"host": socket.gethostname(), "pid": os.getpid(), "waits_for": outages.on_record()}

        pausing = Pausing(database, streams, lambda: leaser.wake())
        replays = Replays(database, self._me)
        replaying = service("replays", replays.run_once, REPLAYS_SECONDS)
        notices = Notices(declarations, pausing, replaying)
        leaser = Leaser(leases, self._me, about, drain, seconds=settings.relay_lease_seconds, read_streams=notices.read)
        leasing = service("lease", leaser.run_once, settings.relay_lease_seconds / 3)
        messages = Hints(lambda: changes.pending(database), tail.show, busy, tail.end)
        sweep = Sweep(store, tail.look_everywhere, messages.working)
        watch = Watch(checkpoints, leaser.wake, seconds=settings.relay_verify_seconds)
        watching = service("watch", watch.run_once, settings.relay_verify_seconds / 2)
        advice = Advice(database, redis, streams)
        counting = Backlog(database, redis, streams, declarations.registered)
        self._leaser, self._advice, self._pausing = leaser, advice, pausing
        trimmer = Trimmer(database, redis, streams, seconds=settings.relay_trim_seconds)
        relays = Hints(lambda: changes.relays(database), lambda _: leasing.wake(), busy, look=False)
        beside = [
            watching,
            service("pauses", pausing.run_once, pauses.LOOK_SECONDS),
            service("stage", staging.run_once, settings.relay_stage_seconds),
            service("sweep", sweep.run_once, settings.relay_poll_seconds),
            service("hints of messages", messages.run_once),
            service("hints of relays", relays.run_once),
            service("advice", advice.run_once, advising.LOOK_SECONDS),
            service("backlog", counting.run_once, backlog.LOOK_SECONDS),
            service("trim", trimmer.run_once, settings.relay_trim_seconds),
            service("rescue", Rescuer(streams, Rescue(database, redis), leaser.partitions).run_once, interval(streams)),
        ]
        if self._until_empty:
            until = once.UntilEmpty(store, streams, outages, self._addresses, self.stop)
            beside.append(service("until empty", until.run_once, 0.1))

        async with (
            asyncio.TaskGroup() as group,
            self._jobs(database, redis, streams),
        ):
            renewing = group.create_task(leasing.run(), name=leasing.name)
            working = group.create_task(replays.work(replaying), name=replaying.name)
            waking = [group.create_task(other.run(), name=other.name) for other in beside]
            log.info("relay started", relay=self._me, streams=list(streams))
            try:
                await self._stop.wait()
            except asyncio.CancelledError:
                # One of them has a defect, and the group cancels the rest. The driver may swallow that, and who then
                # went on would keep a process that does no work any more.
                for one in services:
                    one.quiet()
                raise
            log.info("relay stopping", relay=self._me, seconds=settings.relay_stop_seconds)
            for other, task in zip(beside, waking, strict=True):
                other.quiet()  # the driver may swallow a cancellation; then the current pass is the last
                task.cancel()  # they read, or do what can be done again
            replaying.quiet()
            leaser.leave()
            leasing.wake()
            if (await asyncio.wait([renewing, working], timeout=settings.relay_stop_seconds))[1]:
                log.error("relay stop timed out", advice="nothing is lost: the next owner takes up what was in flight")
                renewing.cancel()
                working.cancel()
                leaser.abandon()
            log.info("relay stopped", relay=self._me)

    @asynccontextmanager
    async def _jobs(self, database: Database, redis: AnyRedis, streams: Streams) -> AsyncIterator[None]:
        def failed(error: BaseException) -> None:
            log.error("timed job failed unexpectedly", exc_info=error)

        jobs = Jobs(failed)
        add_all(jobs, database, redis, streams, self._outbox_settings, self._settings)
        jobs.start()
        try:
            yield
        finally:
            jobs.stop()

    @asynccontextmanager
    async def _probes(self, outages: Outages) -> AsyncIterator[None]:
        """From the first second on, so that a relay that waits for its servers says so."""

        def obstacles() -> list[str]:
            if self._leaser is None:
                return outages.current() or ["mongodb"]  # which has not answered yet
            return outages.current() + ([] if self._leaser.trusted() else ["leases"])

        def warnings() -> list[str]:
            advice = list(self._advice.warnings) if self._advice else []
            return advice + (self._pausing.warnings() if self._pausing else [])

        server = probes.server(
            obstacles,
            warnings,
            lambda: self._leaser.held if self._leaser else 0,
            self._metrics,
        )
        serving = asyncio.create_task(server.serve(sockets=[self._listen]), name="probes")
        serving.add_done_callback(lambda _: self.stop())  # nobody would know about it any more
        try:
            yield
        finally:
            server.leave()
            await asyncio.wait([serving])
        await serving


async def _drain(drainer: Drainer, service: Service, watch: Watch, *, done: Callable[[], None]) -> None:
    watch.join(drainer)
    try:
        await service.run()
        await drainer.finish()
    finally:
        watch.leave(drainer)
        done()  # before what may be cancelled
        await drainer.close()

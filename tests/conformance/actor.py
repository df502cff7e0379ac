"""One real relay of one partition, moved from one request of the model to the next."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from bson import ObjectId
from pymongo.errors import AutoReconnect
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.database import PARTITIONS
from outbox.errors import LookAgain
from outbox.protocol.leases import LeaseLost, Leases
from outbox.protocol.store import Fetched
from outbox.settings import load
from outbox_relay.drained import Outcome
from outbox_relay.drainer import Drainer
from outbox_relay.recovery import Recovery
from outbox_relay.settings import RelaySettings
from outbox_relay.tail import Inbox
from tests.conformance import mapping
from tests.conformance.gates import Gate, Gated, LastingSessions, Request
from tests.model.world import Do
from tests.relay.world import PARTITION, World

Late = Callable[[], Awaitable[None]]
"""Executes a request that was given up."""


@dataclass
class _Taking:
    """A page of lost messages: found and named in the lease, and to be taken back next."""

    whole: Request
    running: asyncio.Task[Any]
    held: Request
    answer: Any


class Actor:
    """`request` is the one that the relay is about to send; None once it has lost its lease."""

    def __init__(self, world: World, sessions: LastingSessions, batch: int, inbox: Inbox) -> None:
        """:param inbox: what a change stream has shown; one without a beginning is of none."""
        self._world, self._sessions, self._batch, self.inbox = world, sessions, batch, inbox
        self._gate = Gate()
        self._before = ""
        self._taking: _Taking | None = None
        self.request: Request | None = None

    @property
    def token(self) -> int:
        return self._drainer.lease.token

    @property
    def doing(self) -> Do:
        assert self.request
        return Do.TAKE if self._taking else mapping.doing(self.request, self._before)

    def named(self) -> tuple[tuple[ObjectId, int], ...]:
        return mapping.named(self.request) if self.request and not self._taking else ()

    async def acquire(self, name: str) -> None:
        """Take the lease, from whoever has it, and go on until the first request under a token of its own."""
        world = self._world
        await world.database[PARTITIONS].update_one({"_id": str(PARTITION)}, {"$set": {"owner": None}})
        real = Leases(world.database, world.streams, name, seconds=600)
        lease = await real.acquire(PARTITION)
        assert lease
        leases = self._gated(real, "leases")
        store, losses, checkpoints = (
            self._gated(getattr(world, name), name) for name in ("store", "losses", "checkpoints")
        )
        self._recovery = Recovery(world.database, store, losses, checkpoints, leases)
        self._drainer = Drainer(
            lease, lambda: True, cast(Any, self._sessions), store, checkpoints, leases, self._recovery,
            load(RelaySettings, relay_batch_size=self._batch, relay_verify_seconds=1e9), self.inbox,
        )  # fmt: skip
        self._running = asyncio.create_task(self._run())
        await self._next()
        await self.step()

    def _gated(self, inner: object, name: str) -> Any:
        return Gated(inner, name, self._gate, mapping.GATED)

    async def _run(self) -> None:
        while True:
            if self._drainer._progress and not self._drainer._ahead:
                await self._gate.enter(mapping.PASS, {}, _nothing)
            with suppress(AutoReconnect, RedisConnectionError):
                if (await self._drainer.run_once()).outcome is Outcome.LEASE_LOST:
                    return

    async def step(self) -> None:
        """The request is executed and answered."""
        do = self.doing
        if do is Do.MEAN_TO_TAKE:
            return await self._mean_to_take()
        if do is Do.TAKE:
            return await self._take()
        if do is Do.FETCH:
            self.inbox.doubt()  # else it waits for what the change stream shows
        await self._go()
        while self.request and self.request.name in mapping.FOLLOWED.get(do, ()) and self._before != self.request.name:
            await self._go()
        return None

    async def shown(self) -> None:
        """An owner that has caught up takes what the change stream has shown."""
        assert self.inbox.joined
        await self._go()

    async def verify(self) -> None:
        """An owner that has nothing else to do looks whether its checkpoint is as it was left."""
        assert self.request
        if self.request.name == "store.fetch":  # in the pass that has reconciled: it finds nothing
            self.request.answer(Fetched((), (), more=False))
            await self._next()
        self._drainer._verified = -math.inf
        await self._go()
        assert self.request
        assert self.request.name == "checkpoints.look", self.request.name
        await self._go()

    async def give_up(self) -> Late:
        """The relay hears nothing of its request, which may be executed later."""
        late = await self.send_again()
        if self._taking:
            self._taking.whole.give_up()
            self._taking = None
        else:
            assert self.request
            self.request.give_up()
        await self._next()
        return late

    async def send_again(self) -> Late:
        """The same request, once more, at any time."""
        if self.request and self.request.name == "losses.shares_history":
            await self._go()  # it only reads: what the model's request does when it comes late is the write after it
        taking, request = self._taking, self.request
        assert request

        async def late() -> None:
            with suppress(LookAgain, LeaseLost):
                if taking:
                    taking.held.answer(taking.answer)
                    await taking.running
                elif request.name == "losses.take_back":
                    await self._name_only(request)
                else:
                    await request.run()

        return late

    async def kill(self) -> None:
        """It vanishes between two requests."""
        tasks = [self._running, *self._recovery._surveys._searches.values()]
        tasks += [self._taking.running] if self._taking else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go(self) -> None:
        assert self.request
        self._before = self.request.name
        self.request.answer(await _outcome(self.request))
        await self._next()

    async def _next(self) -> None:
        self.request = await self._gate.next(self._running)
        if self.request is None:
            await self._running

    async def _mean_to_take(self) -> None:
        """`take_back` finds lost messages, and names them in the lease; then it waits. Or it finds none."""
        while self.request and self.request.name == "losses.take_back":
            whole = self.request
            running: asyncio.Task[Any] = asyncio.ensure_future(cast(Any, whole.run()))
            held = await self._gate.next(running)
            if held:
                answer = await _outcome(held)
                if not isinstance(answer, Exception):
                    self._taking = _Taking(whole, running, held, answer)
                    return
                held.answer(answer)
            self._before = whole.name
            whole.answer(await _outcome(whole, running))
            await self._next()

    async def _take(self) -> None:
        taking, self._taking = self._taking, None
        assert taking
        taking.held.answer(taking.answer)
        self._before = taking.whole.name
        taking.whole.answer(await _outcome(taking.whole, taking.running))
        await self._next()

    async def _name_only(self, request: Request) -> None:
        running: asyncio.Task[Any] = asyncio.ensure_future(cast(Any, request.run()))
        if held := await self._gate.next(running):
            await _outcome(held)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _outcome(request: Request, running: Awaitable[Any] | None = None) -> Any:
    try:
        return await (running or request.run())
    except Exception as error:  # noqa: BLE001  # it is the relay's
        return error


async def _nothing() -> None:
    pass

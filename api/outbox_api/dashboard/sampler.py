"""One sampler in each process: it looks, however many tabs are open, and each tab is sent what it saw."""

from __future__ import annotations

import asyncio
import contextvars
import json
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import FrameType
from typing import Any

import pymongo
import structlog
from pymongo.errors import PyMongoError

from outbox.message.document import State as MessageState
from outbox.operations import diagnosis, downtime, samples, stats
from outbox.operations.day import Day, Point
from outbox.operations.diagnosis import Finding
from outbox.operations.downtime import Downtime
from outbox.operations.samples import Sample
from outbox.servers import causes
from outbox_api.dashboard.lately import DAY_SECONDS, OPENED_SECONDS, Lately
from outbox_api.state import State

log = structlog.get_logger(__name__)

WATCHED_SECONDS = 1.0
ALONE_SECONDS = 10.0
"""While nobody watches: so that who comes sees what was before."""

SHARE = 0.25
"""Looking takes this part of the time at most, so that a large or slow database is not slowed down further."""

HISTORY = 900
SHOWN = 20
BEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Frame:
    """What was seen. `sample` is the last one that could be had, None before the first."""

    number: int
    sample: Sample | None
    findings: tuple[Finding, ...]
    point: Point
    outages: tuple[Downtime, ...]
    day: Day


Draw = Callable[[Frame], Mapping[str, str]]
"""Makes of a frame the regions of the page: HTML by the id of its element."""

STOP_SECONDS = stats.REDIS_SECONDS + 0.5
"""How long a stop waits for a look that is under way."""


class Sampler:
    """Looks at the system again and again, keeps a history of it, and gives frames to whoever watches."""

    def __init__(self, state: State, draw: Draw, look_too: Callable[[], Awaitable[None]]) -> None:
        self._state = state
        self._draw = draw
        self._look_too = look_too
        self._watchers = 0
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._closing = False
        self._looking = asyncio.Lock()
        self._looked = 0.0
        self._history: deque[Point] = deque(maxlen=HISTORY)
        self._outages: deque[Downtime] = deque(maxlen=50)
        self._frame: Frame | None = None
        self._regions: Mapping[str, str] = {}
        self._changes = b""
        self._lately = Lately(state.database)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look, until the context ends. A signal that ends the process ends the streams at once."""
        task = asyncio.create_task(self._run(), name="sampler")
        try:
            with _on_stop(self._stop):
                yield
        finally:
            self._stop()
            # A look that is cancelled may leave a connection behind that nobody closes.
            await asyncio.wait({task}, timeout=STOP_SECONDS)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _stop(self) -> None:
        self._closing = True
        self._changed.set()
        self._wanted.set()

    async def frame(self) -> Frame:
        """The latest frame, and a fresh one if that is old."""
        async with self._looking:  # one look, whoever comes at the same time
            old = time.monotonic() - self._looked > 2 * WATCHED_SECONDS or self._lately.older_than(OPENED_SECONDS)
            if self._frame is None or old:
                # Without the time limit of the page that asks: a look that ran out of that page's time would show
                # everybody that MongoDB is away, and record an outage.
                look = self._look(day_seconds=OPENED_SECONDS)
                await asyncio.create_task(look, context=contextvars.Context())
        assert self._frame is not None
        return self._frame

    async def stream(self, goes_on: Callable[[], bool] = lambda: True) -> AsyncGenerator[bytes, None]:
        """Server-sent events: first all that there is, then what changes, until the process stops.

        `goes_on` is asked before each: whoever watches may have logged out.
        """
        self._watchers += 1
        try:
            self._wanted.set()
            seen = (await self.frame()).number
            yield b"retry: 1000\n\n" + self._all()
            while not self._closing:
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_SECONDS):
                        await self._changed.wait()
                if not goes_on():
                    return
                assert self._frame is not None
                missed, seen = self._frame.number - seen, self._frame.number
                match missed:
                    case 0:  # shows a proxy, and us, whether somebody is still there
                        yield b": beat\n\n"
                    case 1:
                        yield self._changes
                    case _:
                        yield self._all()
        finally:
            self._watchers -= 1

    def _all(self) -> bytes:
        return _event(
            "start", {"history": list(self._history), "regions": self._regions, "day": self._lately.day.as_json()}
        )  # fmt: skip

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                async with self._looking:
                    await self._look(day_seconds=DAY_SECONDS if self._watchers else None)
            except Exception:
                log.exception("sampling failed")
            took = time.monotonic() - began
            if self._closing:
                return
            self._wanted.clear()
            pause = max(WATCHED_SECONDS if self._watchers else ALONE_SECONDS, took / SHARE) - took
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()

    async def _look(self, *, day_seconds: float | None) -> None:
        last = self._frame
        before = last.sample if last else None
        sample, taken = before, None
        try:
            with pymongo.timeout(stats.MONGO_SECONDS):
                await self._state.gate.refresh()
            streams = self._state.streams_now
            sample = taken = await samples.take(
                self._state.database, self._state.redis, streams, since=before.at if before else None
            )
            findings = diagnosis.diagnose(taken, streams)
            self._note("mongodb", False, taken.at)
            self._note("redis", not taken.status.queue.reachable, taken.at)
            point = _point(taken, before)
        except PyMongoError as error:
            findings = diagnosis.without_mongodb(causes.explain(error))
            self._note("mongodb", True, datetime.now().astimezone())
            point = (time.time(), None, None, None, None, None, None)
        await self._look_too()
        self._looked = time.monotonic()
        self._history.append(point)
        # What this process has met, too: it lasts still, or there was no relay to put it on record.
        outages = downtime.merged([*self._outages, *(sample.outages if sample else ())])
        number = last.number + 1 if last else 0
        fresh = None
        if day_seconds:
            now = taken.at if taken else datetime.now().astimezone()
            losses = sample.status.recoveries if sample else ()
            fresh = await self._lately.look(outages, losses, now, seconds=day_seconds, answers=taken is not None)
        self._frame = Frame(number, sample, findings, point, tuple(outages[:SHOWN]), self._lately.day)
        regions = self._draw(self._frame)
        changed = {name: html for name, html in regions.items() if self._regions.get(name) != html}
        self._regions = regions
        # Written once for all who watch.
        told = {"day": fresh.as_json()} if fresh else {}
        self._changes = _event("frame", {"point": point, "regions": changed, **told})
        changed_before, self._changed = self._changed, asyncio.Event()
        changed_before.set()

    def _note(self, server: str, away: bool, at: datetime) -> None:
        current = next((o for o in self._outages if o.server == server and o.until is None), None)
        if away and current is None:
            self._outages.append(Downtime(server, at))
        elif not away and current is not None:
            self._outages[self._outages.index(current)] = Downtime(server, current.since, at)


def _point(sample: Sample, before: Sample | None) -> Point:
    into = out = None
    if before and (seconds := (sample.at - before.at) / timedelta(seconds=1)) > 0:
        # Less than before: messages were pruned or discarded, or Redis has lost its count.
        into = max(0.0, round((sample.kept - before.kept) / seconds, 1))
        if sample.added is not None and before.added is not None and sample.added >= before.added:
            out = round((sample.added - before.added) / seconds, 1)
    median = round(statistics.median(sample.delays) * 1000, 1) if sample.delays else None
    longest = round(max(sample.delays) * 1000, 1) if sample.delays else None
    status = sample.status
    return (
        round(sample.at.timestamp(), 1), into, out, status.messages[MessageState.PENDING],
        status.oldest_pending_seconds or 0.0, median, longest,
    )  # fmt: skip


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


@contextmanager
def _on_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` as soon as the process is told to stop.

    The server waits for its open answers before it tells the application; one that lasts as long as its tab would hold
    every stop up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    ours = {number: handler for number, handler in before.items() if callable(handler)}
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in ours.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)

"""Outages: logged once when they begin and once when they end, and watched in between. Defects are logged here as well.

Many partitions meet the same outage. Each backs off by itself; what is shared is the logging, and one probe that looks
more often than anybody retries, so that work goes on within a fraction of a second of a server's return.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

from outbox.database import Document
from outbox.errors import CommitUnknown, ForeignStream
from outbox.operations import obstacles
from outbox.servers import causes
from outbox.servers.causes import Cause
from outbox.servers.outages import Trouble, classify, server_of
from outbox.servers.waiting import abandon, first

log = structlog.get_logger(__name__)

PROBE_SECONDS = 0.25
PATIENCE_SECONDS = 0.5
"""After which a probe without an answer is joined by the next one. A machine that is gone without a word makes a
connection hang for seconds, and would make one probe that long miss its return."""
POOL_PAUSED = "connection pool paused"
"""What the driver says soon after an error of the server, without asking it: the error before is the cause."""
COUNT_SECONDS = 0.1
"""How long work may be held up to count what waits for it. A backlog of millions takes longer."""
Probe = Callable[[], Awaitable[object]]
Count = Callable[[], Awaitable[int]]
Over = Callable[[str, float, int | None], Awaitable[None]]
"""Called when a server's outage is over, how many seconds it lasted, and how many messages waited, if that is known."""


class Outage:
    """One server's outage: who is affected, since when, and what waits for its end."""

    def __init__(self, server: str, probe: Probe, waiting: Count, over: Over | None = None) -> None:
        self.server = server
        self._over = over
        self.returned = asyncio.Event()
        self.answers = asyncio.Event()
        self.total_seconds = 0.0
        self._probe = probe
        self._waiting = waiting
        self._affected: set[str] = set()
        self._defect = False
        self._since = 0.0
        self._waited: int | None = None
        self._logged: Trouble | None = None
        self.cause: Cause | None = None
        """Why, by the latest error; of the latest outage, if it is over."""
        self._watch: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    @property
    def current(self) -> bool:
        return bool(self._affected)

    def failed(self, who: str, error: BaseException) -> None:
        """`who` cannot do its work because of `error`."""
        if not self._affected:
            self._since, self._waited, self._logged = time.monotonic(), None, None
        self._log(error)
        self._affected.add(who)
        if self._watch is None or self._watch.done():
            self.answers.clear()
            self._watch = asyncio.create_task(self._until_it_answers(), name=f"probe of {self.server}")

    async def recovered(self, who: str) -> None:
        """`who` has done its work, so the outage is over for it, and over when it is for all."""
        if who not in self._affected:
            return
        self._affected.discard(who)
        if not self._affected:
            seconds = time.monotonic() - self._since
            self.total_seconds += seconds
            self.close()
            log.warning(f"{self.server} available again", after_seconds=round(seconds, 1), messages_waited=self._waited)
            if self._over:
                await self._over(self.server, seconds, self._waited)

    def leave(self, who: str) -> None:
        """`who` ends, and does not know whether the outage is over."""
        if who in self._affected:
            self._affected.discard(who)
            if not self._affected:
                self.total_seconds += time.monotonic() - self._since
                self.close()

    @property
    def seconds(self) -> float:
        """How long the server has been away since the start, the present outage included."""
        return self.total_seconds + (time.monotonic() - self._since if self.current else 0.0)

    def close(self) -> None:
        for task in (self._watch, self._counting):
            if task:
                task.cancel()

    def _log(self, error: BaseException) -> None:
        """Once when it begins, and once more when it turns out that it will not pass by itself."""
        if self._logged and POOL_PAUSED in str(error):
            return
        cause = self.cause = causes.explain(error)
        trouble = classify(error) if cause.passes else Trouble.MISCONFIGURED
        if self._logged is Trouble.MISCONFIGURED or self._logged is trouble:
            return
        self._logged = trouble
        write = log.error if trouble is Trouble.MISCONFIGURED else log.warning
        write(
            f"{self.server} unavailable",
            cause=str(cause), error=f"{type(error).__name__}: {causes.detail(error)}",
        )  # fmt: skip

    async def _until_it_answers(self) -> None:
        silent = False
        asked: set[asyncio.Task[object]] = set()
        try:
            while True:
                await asyncio.sleep(PROBE_SECONDS * random.uniform(0.8, 1.2))
                asked.add(asyncio.ensure_future(self._probe()))
                done, asked = await asyncio.wait(asked, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                errors = [probe.exception() for probe in done]
                if None in errors:
                    break
                for error in errors:
                    self._look_at(error)
                silent = True
        finally:
            abandon(*asked)  # they only ask
        await self._count()
        self.answers.set()
        if silent:
            self.returned.set()
            self.returned = asyncio.Event()

    def _look_at(self, error: BaseException | None) -> None:
        if error is None:
            return
        if classify(error) is None:
            # Not raised: nobody would look any more, and all that wait for the server would wait for ever.
            if not self._defect:
                log.error(f"{self.server} probe failed unexpectedly", exc_info=error)
            self._defect = True
        elif server_of(error) == self.server:
            self._log(error)

    async def _count(self) -> None:
        """Counted before anybody goes on, so that it is what waited and not what is left. The most of several counts:
        a stale connection may fail once more when work has gone on already.
        """

        async def count() -> None:
            try:
                self._waited = max(self._waited or 0, await self._waiting())
            except Exception as error:
                if classify(error) is None:
                    log.exception("pending count failed unexpectedly")

        self._counting = asyncio.create_task(count(), name="count of what waits")
        await asyncio.wait([self._counting], timeout=COUNT_SECONDS)


class Outages:
    """The outages of all servers, as the services see them."""

    def __init__(self, probes: Mapping[str, Probe], waiting: Count, over: Over | None = None) -> None:
        self._outages = {server: Outage(server, probe, waiting, over) for server, probe in probes.items()}
        self._defects: set[str] = set()
        self._foreign: dict[str, ForeignStream] = {}
        self._named: set[str] = set()

    def failed(self, who: str, error: BaseException) -> None:
        """`who` cannot do its work because of `error`. One that is no server's is a defect of ours: logged as an error,
        once, and what makes the relay unready for as long as it lasts. So does a stream of another outbox."""
        if isinstance(error, ForeignStream):
            if error.stream not in self._named:
                log.error("stream belongs to another outbox", stream=error.stream, reason=str(error))
            self._named.add(error.stream)
            self._foreign[who] = error
            return
        if isinstance(error, CommitUnknown) and error.__cause__:
            error = error.__cause__  # what MongoDB said, or did not: the next pass sees what came of it
        if classify(error) is not None:
            self._outages[server_of(error)].failed(who, error)
            return
        if who not in self._defects:
            log.error("failed unexpectedly, retrying", service=who, exc_info=error)
        self._defects.add(who)

    async def recovered(self, who: str) -> None:
        if who in self._defects:
            self._defects.discard(who)
            log.warning("recovered from an unexpected failure", service=who)
        error = self._foreign.pop(who, None)
        if error and error.stream not in {other.stream for other in self.foreign()}:
            self._named.discard(error.stream)
            log.warning("stream no longer belongs to another outbox", stream=error.stream)
        for outage in self._outages.values():
            await outage.recovered(who)

    def leave(self, who: str) -> None:
        """`who` ends: what it waited for is no longer its concern."""
        self._defects.discard(who)
        self._foreign.pop(who, None)
        for outage in self._outages.values():
            outage.leave(who)

    async def pause(self, quiet: asyncio.Event, seconds: float) -> None:
        """Back off for `seconds`: less when a server that was silent answers again, more while it is silent still."""
        current = [outage for outage in self._outages.values() if outage.current]
        await first(quiet, *(outage.returned for outage in current), seconds=seconds)
        for outage in current:
            while outage.current and not outage.answers.is_set() and not quiet.is_set():
                await first(quiet, outage.answers, seconds=PROBE_SECONDS)

    def current(self) -> list[str]:
        """The servers that do not do as asked at present, what fails by a defect, and streams of another outbox."""
        servers = [outage.server for outage in self._outages.values() if outage.current]
        return servers + [f"a defect in: {who}" for who in sorted(self._defects)] + sorted(map(str, self.foreign()))

    def why(self) -> dict[str, Cause]:
        """Of each server that does not do as asked at present, why not."""
        return {server: outage.cause for server, outage in self._outages.items() if outage.current and outage.cause}

    def on_record(self) -> list[Document]:
        """Why servers do not do as asked at present, for whoever looks at this relay's record."""
        return [obstacles.as_document(server, cause) for server, cause in self.why().items()]

    def foreign(self) -> list[ForeignStream]:
        """An error for each stream that belongs to another outbox."""
        return [*{str(error): error for error in self._foreign.values()}.values()]

    def seconds(self) -> dict[str, float]:
        """How long each server has been away since the start."""
        return {server: outage.seconds for server, outage in self._outages.items()}

    def close(self) -> None:
        for outage in self._outages.values():
            outage.close()

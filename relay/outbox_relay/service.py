"""The one loop that all services share: a pass, then what the pass's value says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_when_event_set, wait_random_exponential

from outbox.errors import ForeignStream, OutboxError, SchemaError, SettingsError, Unreachable
from outbox.servers.waiting import first
from outbox_relay.outage import Outages

BACKOFF_CAP_SECONDS = 5.0
PAUSE_SECONDS = 0.25


class GaveUp(OutboxError):
    """`--once` waits no longer, for what is not a server that is away; the text says for what."""


FINAL = (SchemaError, SettingsError, Unreachable, GaveUp)
"""What ends the relay: an operator must do something and start it again, or `--once` waits no longer. Any other error
may pass by itself, one of ours too: a commit whose outcome is not known, a stream that was just removed."""


class Next(Enum):
    """What to do after a pass."""

    AGAIN = "again"
    WAIT = "wait"
    PAUSE = "pause"
    """For a moment, and whatever wakes: there is something to do, and it cannot be done yet."""
    END = "end"


class Pass(Protocol):
    """What one pass returns; its other attributes are for metrics and logs."""

    @property
    def next(self) -> Next: ...


class Service:
    """Runs `run_once` again and again until it says END or `quiet` is called.

    A pass that fails is repeated with exponential backoff and full jitter, for ever: because of a server, at a stream
    of another outbox, or by a defect of ours. The last two are logged as errors, make the relay unready, and leave all
    other services at work. Only what is `FINAL` leaves `run`. A pass is never cancelled: `quiet` lets it finish.
    """

    def __init__(
        self,
        name: str,
        run_once: Callable[[], Awaitable[Pass]],
        outages: Outages,
        *,
        interval: float,
        observe: Callable[[Pass], None] | None = None,
    ) -> None:
        self.name = name
        self._run_once = run_once
        self._outages = outages
        self._interval = interval
        self._observe = observe
        self._woken = asyncio.Event()
        self._quiet = asyncio.Event()
        self._retrying = AsyncRetrying(
            retry=retry_if_exception(_is_tried_again),
            wait=wait_random_exponential(multiplier=0.1, max=BACKOFF_CAP_SECONDS),
            stop=stop_when_event_set(self._quiet),  # type: ignore[arg-type]  # only is_set() is called
            sleep=self._pause,
            before_sleep=self._failed,
            retry_error_callback=lambda _: Next.END,
        )

    def wake(self) -> None:
        """Do not wait for the interval: there is, or may be, something to do. A hint, never the truth."""
        self._woken.set()

    def quiet(self) -> None:
        """Finish the current pass and end. May be called any number of times."""
        self._quiet.set()
        self._woken.set()

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            # Whatever it still waited for: an outage that nobody meets any more would make the relay unready for ever.
            self._outages.leave(self.name)

    async def _run(self) -> None:
        while not self._quiet.is_set():
            # Before the pass, so that a wake-up during it leads to another one.
            self._woken.clear()
            try:
                decided = await self._pass()
            except Exception as error:  # noqa: BLE001  # tenacity only now: it costs more than many a pass
                decided = await self._retrying(self._again_after(error))
            match decided:
                case Next.AGAIN:
                    # A pass that never had to wait for a server would otherwise keep everything else from running.
                    await asyncio.sleep(0)
                case Next.WAIT:
                    # With jitter, so that many relays do not ask at the same moment.
                    await first(self._woken, seconds=self._interval * random.uniform(0.8, 1.2))
                case Next.PAUSE:
                    # With so much jitter that none of many which wait for one thing is always the first to get it.
                    await first(self._quiet, seconds=PAUSE_SECONDS * random.uniform(0.2, 1.8))
                case Next.END:
                    return

    def _again_after(self, error: Exception) -> Callable[[], Awaitable[Next]]:
        """For tenacity: passes of which the first one has failed already."""
        failed = [error]

        async def run_once() -> Next:
            if failed:
                raise failed.pop()
            return await self._pass()

        return run_once

    async def _pass(self) -> Next:
        result = await self._run_once()
        await self._outages.recovered(self.name)
        if self._observe:
            self._observe(result)
        return result.next

    def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error:
            self._outages.failed(self.name, error)

    async def _pause(self, seconds: float) -> None:
        await self._outages.pause(self._quiet, seconds)


def _is_tried_again(error: BaseException) -> bool:
    return isinstance(error, ForeignStream) or (isinstance(error, Exception) and not isinstance(error, FINAL))

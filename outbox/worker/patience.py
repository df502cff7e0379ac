"""Patience: outages of the two servers are waited out, logged once when they begin and once when they end.

And once more in between, when a server's trouble turns out to be another one than was logged, which does not pass by
itself: a password that was changed shows first as connections that the server closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_when_event_set, wait_random_exponential

from outbox.delivery.entries import not_there
from outbox.errors import SchemaError, SettingsError, UndeclaredStream
from outbox.servers import causes
from outbox.servers.outages import classify, server_of
from outbox.servers.waiting import first

log = structlog.get_logger(__name__)

T = TypeVar("T")

BACKOFF_CAP_SECONDS = 3.0


class OutOfTime(Exception):
    """The consumer stops, and a server has not come back."""


class Logged(IntEnum):
    """What the log says of a server that is waited for. Something worse is logged as well."""

    NOT_THERE = 1
    PASSES = 2
    STAYS = 3


_FINAL = (OutOfTime, SchemaError, SettingsError, UndeclaredStream)


class Patience:
    """What waits for which server, for all tasks of a consumer."""

    def __init__(self) -> None:
        self._waits_for: dict[str, Logged] = {}

    @property
    def waits_for(self) -> list[str]:
        """The servers that are away."""
        return sorted(self._waits_for)

    async def wait(self, work: Callable[[], Awaitable[T]], until: asyncio.Event) -> T:
        """The result of `work`, repeated through outages. Raises OutOfTime when `until` is set during one, and what
        only an operator can change: SchemaError, SettingsError and UndeclaredStream.

        An error that is no server's is a defect of ours. It is logged as an error, and tried again as well: it must not
        end what all other messages need.
        """
        try:
            return await work()  # nearly always, and ten times as fast without what repeats it
        except _FINAL:
            raise
        except Exception as error:  # noqa: BLE001  # told and repeated below
            return await self._repeated(work, until, error)

    async def _repeated(self, work: Callable[[], Awaitable[T]], until: asyncio.Event, failure: Exception) -> T:
        """The result of `work`, which has just failed."""
        first_failure: list[Exception] = [failure]
        troubled: set[str] = set()

        async def again() -> T:
            if first_failure:
                raise first_failure.pop()
            return await work()

        def hit(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if error and classify(error) is None:
                if state.attempt_number == 1:
                    log.error("failed unexpectedly, retrying", exc_info=error)
            elif error:
                troubled.add(server_of(error))
                self._tell(error)

        def give_up(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            raise OutOfTime from error

        async def pause(seconds: float) -> None:
            await first(until, seconds=seconds)

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, Exception) and not isinstance(error, _FINAL)),
            wait=wait_random_exponential(multiplier=0.1, max=BACKOFF_CAP_SECONDS),
            stop=stop_when_event_set(until),  # type: ignore[arg-type]  # only is_set() is called
            sleep=pause,
            before_sleep=hit,
            retry_error_callback=give_up,
        )
        result: T = await retrying(again)
        for server in sorted(troubled & self._waits_for.keys()):
            del self._waits_for[server]
            log.info(f"{server} available again")
        return result

    def _tell(self, error: BaseException) -> None:
        server, cause = server_of(error), causes.explain(error)
        now = Logged.NOT_THERE if not_there(error) else Logged.PASSES if cause.passes else Logged.STAYS
        if now <= self._waits_for.get(server, 0):
            return
        self._waits_for[server] = now
        if now is Logged.NOT_THERE:
            log.info("waiting for the stream and its group")
            return
        tell = log.warning if now is Logged.PASSES else log.error
        tell(
            f"{server} unavailable",
            cause=str(cause), error=f"{type(error).__name__}: {causes.detail(error)}",
        )  # fmt: skip

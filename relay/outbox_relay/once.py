"""`relay --once`: run until nothing is pending."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from outbox.errors import OutboxError, SettingsError, Unreachable
from outbox.protocol.store import Store
from outbox.streams.declaration import Streams
from outbox_relay.outage import Outages
from outbox_relay.service import GaveUp, Next

PATIENCE_SECONDS = 15.0
"""How long an unattended run waits for a server before it gives up, leaving all messages where they are."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Whether everything has been drained."""

    empty: bool

    @property
    def next(self) -> Next:
        return Next.END if self.empty else Next.WAIT


class UntilEmpty:
    """Calls `done` when nothing is pending any more in `streams`, whichever relay drained it."""

    def __init__(
        self,
        store: Store,
        streams: Streams,
        outages: Outages,
        addresses: Mapping[str, str],
        done: Callable[[], None],
    ) -> None:
        """:param streams: those that this relay drains. What is pending in a paused one is not waited for."""
        self._store = store
        self._streams = streams
        self._outages = outages
        self._addresses = addresses
        self._done = done
        self._well = time.monotonic()

    async def run_once(self) -> Looked:
        """Raises Unreachable or GaveUp when something fails for longer than is worth waiting, and SettingsError when a
        stream belongs to another outbox."""
        if foreign := self._outages.foreign():
            raise SettingsError(str(foreign[0]))  # which a service does not try again
        if self._outages.current():
            if time.monotonic() - self._well > PATIENCE_SECONDS:
                raise self._given_up()
        else:
            self._well = time.monotonic()
        going = [name for name, stream in self._streams.items() if not self._streams.pauses.of(stream)]
        empty = not await self._store.any_pending(going)
        if empty:
            self._done()
        return Looked(empty)

    def _given_up(self) -> OutboxError:
        """Unreachable only when a server may be away: one that refuses, or a defect, needs somebody."""
        why = self._outages.why()
        for server, cause in why.items():
            if not cause.passes:
                return GaveUp(f"{cause} Nothing is lost.\n  {server}: {self._addresses[server]}")
        for server, cause in why.items():
            return Unreachable(
                server, self._addresses[server], f"{cause.what}, for {PATIENCE_SECONDS:.0f} s; nothing is lost"
            )
        return GaveUp(f"{self._outages.current()[0]}; the log has its error. Nothing is lost")

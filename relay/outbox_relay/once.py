"""`relay --once`: run until nothing is pending."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from outbox.errors import OutboxError, SettingsError, Unreachable
from outbox.protocol.store import Store
from outbox.servers.waiting import abandon
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
                raise _given_up(self._outages, self._addresses)
        else:
            self._well = time.monotonic()
        going = [name for name, stream in self._streams.items() if not self._streams.pauses.of(stream)]
        empty = not await self._store.any_pending(going)
        if empty:
            self._done()
        return Looked(empty)


async def patiently(start: Coroutine[Any, Any, None], outages: Outages, addresses: Mapping[str, str]) -> None:
    """Run `start`, which waits for MongoDB, for as long as is worth waiting. Raises as `UntilEmpty` does."""
    starting = asyncio.ensure_future(start)
    try:
        done, _ = await asyncio.wait({starting}, timeout=PATIENCE_SECONDS)
        if not done:
            raise _given_up(outages, addresses)
        await starting
    finally:
        abandon(starting)


def _given_up(outages: Outages, addresses: Mapping[str, str]) -> OutboxError:
    """Unreachable only when a server may be away: one that refuses, or a defect, needs somebody."""
    why = outages.why()
    for server, cause in why.items():
        if not cause.passes:
            return GaveUp(f"{cause} Nothing is lost.\n  {server}: {addresses[server]}")
    for server, cause in why.items():
        return Unreachable(server, addresses[server], f"{cause.what}, for {PATIENCE_SECONDS:.0f} s; nothing is lost")
    if current := outages.current():
        return GaveUp(f"{current[0]}; the log has its error. Nothing is lost")
    return Unreachable("mongodb", addresses["mongodb"], f"no answer for {PATIENCE_SECONDS:.0f} s; nothing is lost")

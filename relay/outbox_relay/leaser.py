"""Keep this relay's fair share of the partitions: acquire, renew, give back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from outbox.database import Document
from outbox.protocol.leases import Lease, Leases, Overview, Sign
from outbox.servers.silence import Silence
from outbox.streams.declaration import Partition
from outbox_relay.service import Next, Service
from outbox_relay.shares import Share, shares

log = structlog.get_logger(__name__)

TRUST = 0.75
"""The part of a lease's time for which it is trusted, counted from before the request that renewed it."""

TOGETHER = 20
"""How many partitions are acquired at a time."""


@dataclass(slots=True)
class Holding:
    """A lease as it was taken, and the service that drains under it, whose token has risen since."""

    lease: Lease
    service: Service
    task: asyncio.Task[None]
    giving_back: bool = False


@dataclass(frozen=True, slots=True)
class Leased:
    """What one round changed."""

    held: int
    relays: int
    acquired: int
    lost: int
    given_back: int
    left: bool

    @property
    def next(self) -> Next:
        return Next.END if self.left else Next.WAIT


class Leaser:
    """Holds the leases of one relay, and starts and ends a drainer with each.

    A partition is given back only when its drainer has finished its batch; a lost one is left at once, and what its
    drainer may still try is refused by the token.
    """

    def __init__(
        self,
        leases: Leases,
        me: str,
        about: Callable[[], Document],
        start: Callable[[Lease], tuple[Service, asyncio.Task[None]]],
        *,
        seconds: float,
        read_streams: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """
        :param about: what others may know of this relay, asked at each renewal.
        :param read_streams: awaited before each renewal: who trusts its leases knows what was registered by then.
        """
        self._leases = leases
        self._me = me
        self._about = about
        self._start = start
        self._seconds = seconds
        self._read_streams = read_streams
        self._trusted_until = 0.0
        self._silence = Silence[Partition | str, Sign](seconds, self._patience)
        self._lease_seconds: Mapping[str, float] = {}
        self._late = False
        self._leaving = False
        self._holdings: dict[Partition, Holding] = {}

    def trusted(self) -> bool:
        """Whether the leases can be acted upon: the last renewal is fresh by this machine's monotonic clock."""
        return time.monotonic() < self._trusted_until

    def wake(self, partitions: Collection[Partition] | None = None) -> None:
        """Wake the drainers of `partitions`, as far as they are ours, or all of them."""
        for holding in self._holdings.values():
            if partitions is None or holding.lease.partition in partitions:
                holding.service.wake()

    async def run_once(self) -> Leased:
        began = time.monotonic()
        if self._read_streams:
            await self._read_streams()
        view = await self._leases.renew(self._about(), leaving=self._leaving)
        # From before the request: the server's time runs from a moment that we cannot know, but that is later.
        self._trusted_until = began + self._seconds * TRUST
        self._log_if_late(time.monotonic() - began)
        lost = self._leave_what_is_not_held(view)
        given_back = await self._give_back_what_is_finished()
        if not self._leaving:
            self._start_what_is_held(view.held, {lease.partition for lease in given_back})
        self._lease_seconds = view.lease_seconds
        # By our own monotonic clock: if the server's was set back, what the dead had would be theirs for as long.
        silent = self._silence.listen(view.signs)
        relays = {relay: drains for relay, drains in view.relays.items() if relay not in silent}
        mine = shares(view.partitions, relays, self._me)
        self._quiet_beyond(mine)
        free: dict[Partition, Sign | None] = dict.fromkeys(view.free)
        free |= {partition: view.signs[partition] for partition in silent if isinstance(partition, Partition)}
        acquired = [lease for share in mine for lease in await self._acquire(free, share)]
        if acquired or lost or given_back:
            log.info(
                "partitions reassigned",
                held=len(self._holdings),
                acquired=_names(acquired),
                lost=_names(lost),
                given_back=_names(given_back),
                relays=len(relays),
            )
        left = self._leaving and not self._holdings
        if left:
            await self._leases.leave()
        return Leased(self.held, len(relays), len(acquired), len(lost), len(given_back), left)

    def leave(self) -> None:
        """From the next round on, give everything back; when all is given back, leave the list of relays and end.

        Leases are renewed until then, so that a drainer can finish its batch in peace.
        """
        self._leaving = True

    def abandon(self) -> None:
        """Cancel all drainers, wherever they are; as after a crash, the next owner takes up what was in flight."""
        for holding in self._holdings.values():
            holding.task.cancel()

    def partitions(self) -> list[Partition]:
        """Those that are this relay's, as far as it can trust that."""
        return list(self._holdings) if self.trusted() else []

    @property
    def held(self) -> int:
        return len(self._holdings)

    def _patience(self, sign: Sign) -> float:
        """A relay gives a sign of life in every third of the time of its own leases, which may be longer than ours."""
        return self._lease_seconds.get(sign.owner, 0.0)

    def _log_if_late(self, took: float) -> None:
        """Once when it begins: until it ends nothing is published."""
        late = not self.trusted()
        if late and not self._late:
            log.warning(
                "lease renewal too slow",
                advice="nothing is published meanwhile; if this goes on, raise OUTBOX_RELAY_LEASE_SECONDS",
                took_seconds=round(took, 1),
                trusted_seconds=self._seconds * TRUST,
            )
        self._late = late

    def _leave_what_is_not_held(self, view: Overview) -> set[Lease]:
        held = {lease.partition for lease in view.held}  # whatever its token: its drainer takes new ones
        lost = {holding.lease for partition, holding in self._holdings.items() if partition not in held}
        for lease in lost:
            self._holdings.pop(lease.partition).service.quiet()
        # What was removed with its leases, nobody has taken from it. That is seen before the registry is read again.
        return {lease for lease in lost if view.partitions[lease.partition.stream]}

    async def _give_back_what_is_finished(self) -> set[Lease]:
        finished = [holding for holding in self._holdings.values() if holding.task.done()]
        given_back = {holding.lease for holding in finished if holding.giving_back}
        await self._leases.release(given_back)
        for holding in finished:
            del self._holdings[holding.lease.partition]
        return given_back

    def _start_what_is_held(self, held: Iterable[Lease], given_back: Collection[Partition]) -> None:
        """Leases whose drainer has ended, or that were acquired by a request whose reply was lost."""
        for lease in held:
            if lease.partition not in self._holdings and lease.partition not in given_back:
                self._hold(lease)

    def _quiet_beyond(self, mine: Sequence[Share]) -> None:
        kept = {one.lease.partition for share in mine for one in self._keeping(share)[: share.partitions]}
        for partition, holding in self._holdings.items():
            if partition not in kept:
                holding.giving_back = True
                holding.service.quiet()

    async def _acquire(self, free: Mapping[Partition, Sign | None], share: Share) -> list[Lease]:
        """Several at a time: one after the other, on a slow network, the first would not be renewed in time."""
        acquired: list[Lease] = []
        left = iter([one for one in free.items() if one[0].stream in share.streams])

        def room() -> int:
            return min(TOGETHER, share.partitions - len(self._keeping(share)))

        while some := list(islice(left, max(0, room()))):
            answers = await asyncio.gather(*(self._leases.acquire(*one) for one in some), return_exceptions=True)
            for lease in answers:
                if isinstance(lease, Lease):
                    self._hold(lease)
                    acquired.append(lease)
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        return acquired

    def _keeping(self, share: Share) -> list[Holding]:
        holdings = (each for each in self._holdings.values() if each.lease.partition.stream in share.streams)
        return [holding for holding in holdings if not holding.giving_back]

    def _hold(self, lease: Lease) -> None:
        service, task = self._start(lease)
        self._holdings[lease.partition] = Holding(lease, service, task)


def _names(leases: Iterable[Lease]) -> list[str]:
    return sorted(str(lease.partition) for lease in leases)

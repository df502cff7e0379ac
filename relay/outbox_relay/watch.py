"""Watch the checkpoints of partitions with nothing to publish, so that what Redis loses is noticed at once.

Who publishes finds a loss by that. For all others there is one short call for each stream, however many partitions it
has: about once a second, and twice as often while anybody adds to the stream.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from outbox.errors import UndeclaredStream
from outbox.protocol.checkpoint import Checkpoints, Glance, Stand
from outbox.streams.declaration import Partition
from outbox_relay.drainer import Drainer
from outbox_relay.service import Next

log = structlog.get_logger(__name__)

WHOLE_SECONDS = 5.0
"""How often to read everything that there is of a stream. In between, a checkpoint that was as it should be counts as
such while the stream stands where it stood then. Who loses entries loses the latest, so that the stream stands
elsewhere; a group or a checkpoint that is deleted alone takes nothing else with it."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One round. `doubted`: partitions whose checkpoints are not as their owner knows them."""

    looked_at: int = 0
    doubted: int = 0

    @property
    def next(self) -> Next:
        return Next.WAIT


class Watch:
    """Compares what the drainers of one relay know of their checkpoints with what is there.

    A difference is a hint: the drainer itself looks, in its next pass, before it does anything else. What a pass
    changes meanwhile is no difference.
    """

    def __init__(
        self, checkpoints: Checkpoints, wake: Callable[[Collection[Partition]], None], *, seconds: float
    ) -> None:
        """`seconds`: how often to look while nobody adds to a stream. Call `run_once` twice as often."""
        self._checkpoints = checkpoints
        self._wake = wake
        self._seconds = seconds
        self._drainers: set[Drainer] = set()
        self._last: dict[str, str] = {}
        self._next: dict[str, float] = {}
        self._whole: dict[str, float] = {}
        self._seen: dict[Drainer, tuple[Stand, str]] = {}
        """With which last entry of its stream a checkpoint was read and was as its owner knows it, and how it was."""

    def join(self, drainer: Drainer) -> None:
        self._drainers.add(drainer)

    def leave(self, drainer: Drainer) -> None:
        self._drainers.discard(drainer)
        self._seen.pop(drainer, None)

    def hurry(self) -> None:
        """Look at all of them in the next round: a loss has just been found somewhere."""
        self._next.clear()
        self._whole.clear()

    async def run_once(self) -> Watched:
        """Raises what a server raises, after all streams have had their turn."""
        began = time.monotonic()
        resting: defaultdict[str, list[Drainer]] = defaultdict(list)
        for drainer in self._drainers:
            stream = drainer.lease.partition.stream
            # A moment early counts: the rounds are not quite regular.
            if drainer.stand and began + self._seconds / 4 >= self._next.get(stream, 0.0):
                resting[stream].append(drainer)
        answers = await asyncio.gather(
            *(self._look(stream, drainers) for stream, drainers in resting.items()), return_exceptions=True
        )
        doubted = [partition for answer in answers if not isinstance(answer, BaseException) for partition in answer]
        if doubted:
            log.info("checkpoints changed", partitions=sorted(map(str, doubted)))
            self._wake(doubted)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return Watched(sum(map(len, resting.values())), len(doubted))

    async def _look(self, stream: str, drainers: Sequence[Drainer]) -> list[Partition]:
        # Again, as some may have begun a pass since they were chosen: what that changes is no difference either.
        before = {drainer: stand for drainer in drainers if (stand := drainer.stand)}
        known, whole = self._last.get(stream, ""), self._whole_is_due(stream)
        sure = {drainer for drainer, stand in before.items() if not whole and self._seen.get(drainer) == (stand, known)}
        numbers = [drainer.lease.partition.number for drainer in sorted(before, key=sure.__contains__)]
        try:
            glance = await self._checkpoints.glance(
                stream, numbers, group=whole, known=known if sure else "", read=len(before) - len(sure)
            )
        except UndeclaredStream:
            return []  # it has been removed from the registry, and its drainers end
        except Exception:
            self._whole.pop(stream, None)  # who answers next may be another server
            raise
        doubted = []
        for drainer, stand in before.items():
            if drainer.stand != stand:
                continue  # it has worked meanwhile, and so has looked itself
            number = drainer.lease.partition.number
            if number in glance.unread or glance.stands.get(number) == stand:
                self._seen[drainer] = (stand, glance.last)
                drainer.verified()
            else:
                self._seen.pop(drainer, None)
                drainer.doubt()
                doubted.append(drainer.lease.partition)
        self._plan(stream, glance)
        return doubted

    def _whole_is_due(self, stream: str) -> bool:
        now = time.monotonic()
        if now < self._whole.get(stream, 0.0):
            return False
        self._whole[stream] = now + WHOLE_SECONDS
        return True

    def _plan(self, stream: str, glance: Glance) -> None:
        still = self._last.get(stream) == glance.last
        self._last[stream] = glance.last
        self._next[stream] = time.monotonic() + (self._seconds if still else self._seconds / 2)

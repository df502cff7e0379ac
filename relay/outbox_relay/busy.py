"""Busy: whether this relay's partitions have so much to drain that hints of more are of no use."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from outbox.streams.declaration import Partition
from outbox_relay.drained import Drained, Outcome

PASSES = 2
"""How many passes in a row must leave something over, so that a burst does not count. More than one fetch may bring is
a backlog at once: of each message that is marked while hints are open, MongoDB looks at the change for every one."""


FORGIVEN = 50
"""After so many passes that leave something over and need not wait, one that had to wait is a backlog again."""


class Busy:
    """Looks at how the passes over each partition end.

    One that waits, for workers or for other partitions, is drained as slowly as these go on, a batch now and then: that
    is no backlog, however much is left over, until it goes on without a wait.
    """

    def __init__(self) -> None:
        self._full: Counter[Partition] = Counter()
        self._held_up: dict[Partition, int] = {}
        self.begun = asyncio.Event()
        self.over = asyncio.Event()
        self.over.set()

    async def watch(self, partition: Partition, run_once: Callable[[], Awaitable[Drained]]) -> Drained:
        """A pass over `partition`, whatever it returns or raises."""
        passes = 0
        try:
            drained = await run_once()
            if drained.outcome in (Outcome.FULL, Outcome.BLOCKED):
                self._held_up[partition] = FORGIVEN
            elif drained.outcome is not Outcome.MORE:
                self._held_up.pop(partition, None)
            elif partition not in self._held_up:
                passes = PASSES if drained.backlog else 1
            elif self._held_up[partition] > 1:
                self._held_up[partition] -= 1
            else:
                del self._held_up[partition]
        finally:
            self._see(partition, passes)
        return drained

    def backlog(self, partition: Partition) -> None:
        """A pass that is not over yet has met one, whatever it ends with."""
        self._see(partition, PASSES)

    def leave(self, partition: Partition) -> None:
        """The partition is not drained here any more. Given up in a backlog, it would count as one for ever."""
        self._held_up.pop(partition, None)
        self._see(partition, 0)

    def _see(self, partition: Partition, passes: int) -> None:
        if passes:
            self._full[partition] += passes
        else:
            del self._full[partition]
        if any(passes >= PASSES for passes in self._full.values()):
            self.over.clear()
            self.begun.set()
        else:
            self.begun.clear()
            self.over.set()

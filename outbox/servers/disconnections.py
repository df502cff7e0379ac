"""Disconnections: when a client last lost its connections to a server of MongoDB.

An error of a connection that a handler raises does not say which of its clients has met it. That ours has lost a server
at about that time does.
"""

from __future__ import annotations

import time
from typing import Any

from pymongo.monitoring import ConnectionPoolListener, PoolClearedEvent

MARGIN_SECONDS = 10.0
"""What is lost so shortly before counts too: it was noticed in between, or is not back yet."""


class Disconnections(ConnectionPoolListener):
    """To be given to one client or several, when they are made.

    It listens to pools, whose events come at once. Those of servers come up to a second later, from a queue for which
    the client waits as long when it is closed.
    """

    def __init__(self) -> None:
        self._last = float("-inf")

    def since(self, moment: float) -> bool:
        """Whether a server was lost since `moment`, of `time.monotonic`, or shortly before."""
        return self._last >= moment - MARGIN_SECONDS

    def pool_cleared(self, event: PoolClearedEvent) -> None:
        """Called by the driver, from any of its threads and tasks, when a server has not answered as one does."""
        self._last = time.monotonic()

    def _nothing_is_lost(self, event: Any) -> None:
        """By any of the others: a connection alone may end because it was idle."""

    pool_created = pool_ready = pool_closed = _nothing_is_lost
    connection_created = connection_ready = connection_closed = _nothing_is_lost
    connection_check_out_started = connection_check_out_failed = _nothing_is_lost
    connection_checked_out = connection_checked_in = _nothing_is_lost

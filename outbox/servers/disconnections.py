"""Disconnections: when a client last lost a server of MongoDB.

An error of a connection that a handler raises does not say which of its clients has met it. That ours has lost a server
at about that time does.
"""

from __future__ import annotations

import time

from pymongo.monitoring import (
    ServerClosedEvent,
    ServerDescriptionChangedEvent,
    ServerListener,
    ServerOpeningEvent,
)

LATE_SECONDS = 1.5
"""The driver tells of it within a second, from a queue: wait for so long before you ask."""
MARGIN_SECONDS = 10.0
"""What is lost so shortly before counts too: it was noticed in between, or is not back yet."""


class Disconnections(ServerListener):
    """To be given to one client or several, when they are made."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def since(self, moment: float) -> bool:
        """Whether a server was lost since `moment`, of `time.monotonic`, or shortly before."""
        return self._last >= moment - MARGIN_SECONDS

    def opened(self, event: ServerOpeningEvent) -> None:
        """Nothing is lost by that."""

    def description_changed(self, event: ServerDescriptionChangedEvent) -> None:
        """Called by the driver, from any of its threads and tasks."""
        known, now = event.previous_description.server_type_name, event.new_description.server_type_name
        if known != "Unknown" and now == "Unknown":
            self._last = time.monotonic()

    def closed(self, event: ServerClosedEvent) -> None:
        """The client is closed, or the replica set has lost this member for good, of which it is told."""

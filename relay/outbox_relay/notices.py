"""Notices: what is read before each renewal of the leases reaches those whom it concerns."""

from __future__ import annotations

import time

from outbox.streams import pauses
from outbox_relay.declarations import Declarations
from outbox_relay.pausing import Pausing
from outbox_relay.service import Service


class Notices:
    """One command for what would be three of them: the registered streams, their pauses, and open replays."""

    def __init__(self, declarations: Declarations, pausing: Pausing, replaying: Service) -> None:
        self._declarations = declarations
        self._pausing = pausing
        self._replaying = replaying

    async def read(self) -> None:
        """Raises what `Declarations.read` does."""
        began = time.monotonic()
        notice = await self._declarations.read()
        self._pausing.learn(pauses.understood(notice.streams), began)
        if notice.replay:
            self._replaying.wake()

"""`outbox relay`, for which outages pass sixty times as fast until it gets SIGUSR1.

What it does again and again while a server is away, it does sixty times as often: probes, retries, sweeps. In a minute
that makes an hour. With the signal all pauses are as in production, also those that have begun.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any
from unittest.mock import patch

import structlog

from outbox.cli import main
from outbox_relay import outage

FASTER = 60.0
TOLD_EVERY = 100
log = structlog.get_logger(__name__)


class Hurry:
    def __init__(self) -> None:
        self.faster = FASTER
        self.probes = 0
        self.paused = 0
        self._usual = outage.PROBE_SECONDS
        outage.PROBE_SECONDS = self._usual / self.faster

    def end(self) -> None:
        self.faster = 1.0
        outage.PROBE_SECONDS = self._usual
        log.info("time passes as usual", probes=self.probes)

    def probing(self, ask: Any) -> Any:
        async def until_it_answers(watched: outage.Outage) -> None:
            probe = watched._probe

            async def counted() -> object:
                self.probes += 1
                if self.probes % TOLD_EVERY == 0:
                    log.info("probes", made=self.probes)
                return await probe()

            with patch.object(watched, "_probe", counted):
                await ask(watched)

        return until_it_answers

    def pausing(self, pause: Any) -> Any:
        async def shorter(outages: outage.Outages, quiet: asyncio.Event, seconds: float) -> None:
            await pause(outages, quiet, seconds / self.faster)

        return shorter


def run() -> None:
    hurry = Hurry()
    signal.signal(signal.SIGUSR1, lambda *_: hurry.end())
    with (
        patch.object(outage.Outage, "_until_it_answers", hurry.probing(outage.Outage._until_it_answers)),
        patch.object(outage.Outages, "pause", hurry.pausing(outage.Outages.pause)),
    ):
        main(["relay", *sys.argv[1:]])


if __name__ == "__main__":
    run()

"""SIGTERM and SIGINT to a command that runs until it is asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


SPARE_SECONDS = 10.0
"""Beyond the time for a stop in order, until a process that hangs leaves all the same."""


def on_signals(stop: Callable[[], None], *, seconds: float, impatient: str) -> None:
    """From now on, in the running loop: the first signal calls `stop`, the second one leaves at once with exit code 1.

    So does the first one, after `seconds` and some to spare: whatever holds the process up, it stops.

    :param impatient: what the log says then: who takes over what is in flight.
    """
    signals = 0

    def leave(why: str) -> None:
        log.warning(f"{why}: {impatient}")
        # As by SIGKILL, which everything here survives: taking leave of a server that hangs would take its time.
        os._exit(1)

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            leave("leaving at once")
        # A thread: the loop may be what hangs.
        late = threading.Timer(seconds + SPARE_SECONDS, leave, ["not stopped in time, leaving"])
        late.daemon = True
        late.start()
        stop()

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, on_signal)

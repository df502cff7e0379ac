"""SIGTERM and SIGINT to a command that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


def on_signals(stop: Callable[[], None], *, impatient: str) -> None:
    """From now on, in the running loop: the first signal calls `stop`, the second one leaves at once with exit code 1.

    :param impatient: what the log says then: who takes over what is in hand.
    """
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            stop()
        else:
            log.warning(f"leaving at once: {impatient}")
            # As by SIGKILL, which everything here survives: taking leave of a server that hangs would take its time.
            os._exit(1)

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, on_signal)

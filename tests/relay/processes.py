"""Relays as the processes that operators run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE, eventually_sync


class RelayProcess:
    """One `outbox relay`."""

    def __init__(self, log: Path, environment: Mapping[str, str], *options: str) -> None:
        self.log = log
        self._environment = {**os.environ, **environment, "OUTBOX_LOG_FORMAT": "json"}
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        return [sys.executable, "-m", "outbox", "relay", "--port", "0", *self._options]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), env=self._environment, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    @property
    def pid(self) -> int:
        assert self._process, "it was started"
        return self._process.pid

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def has_ended(self) -> bool:
        """Whether it was started, and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = 30 * PATIENCE) -> int:
        return self._process.wait(seconds) if self._process else 0

    def told(self, text: str) -> bool:
        return text in self.text()

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def started(self) -> None:
        eventually_sync(lambda: self.told('"acquired": ["'), 20, what="the relay's start")


@contextmanager
def a_relay(log: Path, environment: Mapping[str, str], *options: str) -> Iterator[RelayProcess]:
    process = RelayProcess(log, environment, *options)
    process.start()
    try:
        yield process
    finally:
        process.signal(signal.SIGCONT)
        process.kill()

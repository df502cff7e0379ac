"""An embedded server: a child process with a data directory and a port, which is started once it answers."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from outbox.embedded import ports
from outbox.embedded.failures import NotStarted, PortTaken, missing_library
from outbox.embedded.process import Process

_TRIES = 5
_POLL_SECONDS = 0.02
PROBE_SECONDS = 1.0  # how long one look at whether a server answers may take
_TAIL_LINES = 20


class Server(Process, ABC):
    """A real server for development and tests. Data, port and log survive a restart.

    Without `port` a free one is picked at the first start and kept from then on.
    """

    def __init__(self, name: str, data_dir: Path, *, host: str = "127.0.0.1", port: int | None = None) -> None:
        super().__init__(name, [], data_dir / f"{name}.log")
        self.data_dir = data_dir
        self.host = host
        self._port = port

    @property
    def port(self) -> int:
        """RuntimeError before the first start when none was given."""
        if self._port is None:
            raise RuntimeError(f"{self.name} gets its port when it is started")
        return self._port

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self, seconds: float = 30) -> None:
        """Start it, unless it runs already, and wait until it answers.

        Raises PortTaken, or NotStarted with the reason or the end of its log; it does not run then.
        """
        if self.running:
            return
        self._make_folder()
        if self._port is None:
            self._start_on_a_free_port(seconds)
        else:
            self._start(self._port, seconds)

    def _make_folder(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.log.open("ab").close()
        except OSError as error:  # such as a file in its place, or a folder that another user's run has made
            raise NotStarted(
                f"{self.name} cannot keep its data in {self.data_dir}: {error.strerror}. Choose another folder, or "
                "remove what is in its place"
            ) from None

    def _start_on_a_free_port(self, seconds: float, tries: int = _TRIES) -> None:
        try:
            self._start(ports.pick(self.host), seconds)
        except PortTaken:  # somebody took it between our look and the server's
            self._port = None
            if tries == 1:
                raise
            self._start_on_a_free_port(seconds, tries - 1)

    def _start(self, port: int, seconds: float) -> None:
        self._port = port
        if ports.is_taken(self.host, port):
            raise PortTaken(self.name, self.host, port)
        self.command = list(self._command())
        super().start()
        try:
            self._wait(time.monotonic() + seconds, seconds)
        except BaseException:
            self.kill()
            raise

    def _wait(self, deadline: float, seconds: float) -> None:
        while self.running and not self._answers():
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} on {self.address} does not answer after {seconds:g} s. {self._tail()}")
            time.sleep(_POLL_SECONDS)
        if not self.running:
            raise self._failure()

    def _failure(self) -> NotStarted:
        log = self.output()
        if "Address already in use" in log:
            return PortTaken(self.name, self.host, self.port)
        reason = missing_library(log) or self._reason(log)
        if reason:
            return NotStarted(f"{self.name} ({self.command[0]}) does not start: {reason}")
        return NotStarted(f"{self.name} ended at its start ({_how(self.returncode)}). {self._tail()}")

    def _tail(self) -> str:
        return f"The end of its log {self.log}:\n{self.output(last_lines=_TAIL_LINES)}"

    def _reason(self, log: str) -> str | None:
        """The reason in one sentence if the server's `log` has a known one."""
        return None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command line for `self.port`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether this very process is ready for use. Short, never raises for a server that is not there
        yet.
        """


def _how(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"signal {-returncode}"
    return f"exit code {returncode}"

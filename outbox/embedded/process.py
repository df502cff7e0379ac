"""A child process that never outlives its parent, with its output in a log file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

_LAUNCHER = Path(__file__).with_name("launcher.py")

# All children are started from one thread that lives as long as the process: Linux sends the "parent is
# gone" signal when the *thread* that started the child ends, so a server started from a passing worker
# thread would die with it.
_spawner: ThreadPoolExecutor | None = None
_spawner_lock = threading.Lock()


class Process:
    """One child process. Its output is appended to `log`; it can be started again after it ended.

    It runs in a session of its own, so that the terminal's Ctrl-C reaches the parent only, which then stops
    its children in order. It is killed when the parent ends without stopping it, however that happens
    (Linux). May be used from any thread, one at a time.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.env = env
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended; a paused one runs."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process id of this start, or of the last one. RuntimeError before the first."""
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """How it ended: the exit code, or minus the signal; None while it runs or before it was started."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start it, unless it runs already. Does not wait until it is of use."""
        if self.running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            command = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *self.command]
            self._popen = _spawn(command, output.fileno(), self.env)

    def stop(self, seconds: float = 10) -> int:
        """Ask it to end (SIGTERM), kill it after `seconds`; returns how it ended (see `returncode`)."""
        popen = self._started()
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused process takes SIGTERM only once it goes on
        try:
            return popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, as a crash would; returns when it has ended."""
        self._signal(signal.SIGKILL)
        return self._started().wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered, as with a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def wait(self, seconds: float | None = None) -> int:
        """Wait until it has ended; returns how. subprocess.TimeoutExpired when it has not in `seconds`."""
        return self._started().wait(seconds)

    def output(self, *, last_lines: int | None = None) -> str:
        """What it has printed since its last start, or the end of that."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return text if last_lines is None else "\n".join(text.splitlines()[-last_lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._popen is not None:
            self.stop()

    def _signal(self, number: signal.Signals) -> None:
        self._started().send_signal(number)  # sends nothing to a process that has ended

    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._popen


def _spawn(command: Sequence[str], output: int, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )

    global _spawner
    with _spawner_lock:
        if _spawner is None:
            _spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")
        return _spawner.submit(popen).result()

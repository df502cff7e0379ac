"""Pulse: signs of life that do not depend on what a handler does to its process.

A handler that holds the interpreter's lock, or an async one that computes, lets nothing else run in its process, and so
no sign of life either: another worker would take its entry over, and do the same work beside it. A second, small
process knows what is in flight, and gives the signs when the worker itself falls silent. It ends with the worker at
once, and it gives up when the worker has been silent for longer than the handlers may take.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from outbox.settings import OutboxSettings
from outbox.streams.declaration import Stream

log = structlog.get_logger(__name__)

READY_SECONDS = 10.0
PIPE_BYTES = 4096
"""What is no longer is written to a pipe as a whole or not at all."""
PROGRAM = Path(__file__).with_name("pulse_program.py")


class Pulse:
    """The worker's side. Nothing here waits, and nothing fails because of the second process.

    :param own_process: the process is there for this worker alone, and is killed when its event loop has stood still
        for longer than a handler may take: its supervisor starts it again.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        streams: Sequence[Stream],
        consumer: str,
        silent_seconds: float,
        own_process: bool,
    ) -> None:
        values = {name: getattr(settings, name) for name in OutboxSettings.model_fields}
        self._numbers = {stream: number for number, stream in enumerate(streams)}
        setup = {
            "path": sys.path,
            "parent": os.getpid(),
            "consumer": consumer,
            "silent_seconds": silent_seconds,
            "own_process": own_process,
            "streams": [(stream.key, stream.group) for stream in streams],
            # Through the pipe, since it holds secrets. Pickled, since it is our own object.
            "settings": base64.b64encode(pickle.dumps(values)).decode(),
        }
        self._setup = json.dumps(setup).encode() + b"\n"
        self._in_flight: dict[tuple[Stream, str], bytes] = {}
        self._unsent: deque[bytes] = deque()
        self._flushing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._warned = False

    async def ready(self) -> None:
        """Wait until the second process can give signs of life: before that, no handler should be called."""
        deadline = time.monotonic() + READY_SECONDS
        while self._process and self._process.stdout and time.monotonic() < deadline:
            try:
                os.read(self._process.stdout.fileno(), 1)
            except BlockingIOError:
                await asyncio.sleep(0.02)
            else:
                return  # it said so, or has ended

    def begin(self, stream: Stream, entry: str, limit_seconds: float) -> None:
        """An entry is in flight from now on. To be called before its handler."""
        line = f"+ {self._numbers[stream]} {entry} {limit_seconds}\n".encode()
        self._in_flight[stream, entry] = line
        self._send(line)

    def end(self, stream: Stream, entry: str) -> None:
        if self._in_flight.pop((stream, entry), None):
            self._send(f"- {self._numbers[stream]} {entry}\n".encode())

    def beat(self) -> None:
        """The worker gives signs of life itself now. Starts the process where it is not."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._send(b"=\n")

    def alive(self) -> None:
        """The worker's own event loop goes on. Whether its signs of life reach Redis is another matter: in an outage,
        nothing blocks it."""
        self._send(b".\n")

    def close(self) -> None:
        if self._process:
            assert self._process.stdin
            assert self._process.stdout
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.kill()  # it has nothing to lose
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        self.close()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-P", str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            assert self._process.stdin
            self._process.stdin.write(self._setup)
            os.set_blocking(self._process.stdin.fileno(), False)
            assert self._process.stdout
            os.set_blocking(self._process.stdout.fileno(), False)
        except OSError as error:
            if not self._warned:
                log.warning(
                    "heartbeat process unavailable", advice="a handler must let other tasks run", error=str(error)
                )
            self._warned = True
        self._unsent = deque(self._in_flight.values())

    def _send(self, line: bytes) -> None:
        """In the order of the calls, and before what the event loop begins after this one: a handler may block it."""
        self._unsent.append(line)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """What the pipe cannot take now goes with the next lines."""
        self._flushing = False
        while self._unsent and self._process and self._process.stdin and not self._process.stdin.closed:
            lines = b""
            while self._unsent and len(lines) + len(self._unsent[0]) <= PIPE_BYTES:
                lines += self._unsent.popleft()
            try:
                os.write(self._process.stdin.fileno(), lines)
            except OSError:  # full, or its reader is gone: then `beat` starts another one
                self._unsent.appendleft(lines)
                return

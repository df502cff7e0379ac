"""The second process of outbox.worker.pulse. Run as a file, so that it is small until it is needed.

On its standard input: a line of JSON, then `+ STREAM ENTRY LIMIT`, `- STREAM ENTRY`, `=` whenever the worker gives
signs of life itself, and `.` while its event loop goes on. The end of the input is the end of the worker.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

TICK_SECONDS = 0.1
EARLY_SECONDS = 15.0
"""Below this silence, all is imported at the start: on a busy machine that takes seconds."""


class Program:
    def __init__(self, setup: dict[str, Any]) -> None:
        self._setup = setup
        self._silent_seconds = float(setup["silent_seconds"])
        self._in_flight: dict[tuple[int, str], float] = {}
        self._sign_at = self._alive_at = self._looked_at = time.monotonic()
        self._rest = b""

    def run(self) -> None:
        """Until the worker has ended, or has been silent for longer than its handlers may take."""
        beating: threading.Thread | None = None
        if self._silent_seconds >= EARLY_SECONDS:
            self._say_ready()
        while self._read() and os.getppid() == self._setup["parent"] and not self._is_stuck():
            if beating is None and (self._silent_seconds < EARLY_SECONDS or self._is_needed()):
                beating = threading.Thread(target=asyncio.run, args=(self._beat(),), daemon=True)
                beating.start()
            time.sleep(TICK_SECONDS)

    def _say_ready(self) -> None:
        with suppress(OSError):
            os.write(1, b".")

    def _read(self) -> bool:
        """Read what there is. False: the worker is gone."""
        while True:
            try:
                found = os.read(0, 65536)
            except BlockingIOError:
                return True
            if not found:
                return False
            *lines, self._rest = (self._rest + found).split(b"\n")
            for line in lines:
                match line.decode().split():
                    case ["+", stream, entry, limit]:
                        self._in_flight[int(stream), entry] = float(limit)
                    case ["-", stream, entry]:
                        self._in_flight.pop((int(stream), entry), None)
                    case ["."]:
                        self._alive_at = time.monotonic()
                    case _:
                        self._sign_at = self._alive_at = time.monotonic()

    def _is_needed(self) -> bool:
        """Whether the worker should have given a sign of life by now: it does so in every third of the time."""
        return bool(self._in_flight) and time.monotonic() - self._sign_at > 0.4 * self._silent_seconds

    def _is_stuck(self) -> bool:
        """Whether the worker's event loop has stood still for longer than any handler may take, while this process ran.

        With a host or container that is frozen both stand still, and neither order of waking up is anybody's fault.
        """
        now = time.monotonic()
        self._alive_at = min(now, self._alive_at + max(0.0, now - self._looked_at - TICK_SECONDS))
        self._looked_at = now
        limits = [*self._in_flight.values()]
        if not limits or 0 in limits:
            return False
        silence = now - self._alive_at
        if silence <= max(limits) + self._silent_seconds:
            return False
        does = "killed, for its supervisor to start it again" if self._setup["own_process"] else "left to others"
        entries = ", ".join(f"{self._setup['streams'][stream][0]} {entry}" for stream, entry in self._in_flight)
        with suppress(OSError):  # the log's disk may be full
            print(  # noqa: T201
                f"worker {self._setup['consumer']} has let nothing else run for {silence:.0f} s, longer than its "
                f"handler_seconds: {does}; in flight: {entries[:1000]}",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        if self._setup["own_process"]:
            os.kill(self._setup["parent"], signal.SIGKILL)
        return True

    async def _beat(self) -> None:
        sys.path[:] = self._setup["path"]
        from redis.exceptions import ResponseError

        from outbox.delivery.entries import Entries
        from outbox.servers.connections import connect_redis
        from outbox.settings import OutboxSettings
        from outbox.streams.declaration import Stream

        values = pickle.loads(base64.b64decode(self._setup["settings"]))  # noqa: S301  # the worker's own
        self._say_ready()
        streams = [Stream(name, group) for name, group in self._setup["streams"]]
        while True:
            with suppress(Exception):  # an outage, mostly: the next beat may reach it
                async with connect_redis(OutboxSettings.model_construct(**values)) as redis:
                    entries = Entries(redis, self._setup["consumer"])
                    while True:
                        if self._is_needed():
                            by_stream: defaultdict[int, list[str]] = defaultdict(list)
                            for stream, entry in [*self._in_flight]:
                                by_stream[stream].append(entry)
                            for stream, ids in by_stream.items():
                                with suppress(ResponseError):  # the trouble of one stream
                                    await entries.beat(streams[stream], ids)
                        await asyncio.sleep(self._silent_seconds / 5 if self._is_needed() else TICK_SECONDS)
            await asyncio.sleep(TICK_SECONDS)


def main() -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # a worker that stops is still at work; its end is seen at the pipe
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        setup = json.loads(pipe.readline())
    os.set_blocking(0, False)
    Program(setup).run()
    os._exit(0)


if __name__ == "__main__":
    main()

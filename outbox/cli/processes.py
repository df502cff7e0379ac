"""Processes: several workers under one parent, which passes signals on, and starts again one that ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import structlog
import typer

from outbox.cli.signals import on_signals
from outbox.embedded.supervisor import backoff
from outbox.servers.waiting import first

log = structlog.get_logger(__name__)

STEADY_SECONDS = 60.0
"""An end after running for so long counts as the first one again."""
USAGE = 2


def options_of(context: typer.Context, without: set[str]) -> list[str]:
    """The options of a command as they were given, but for some."""
    options = []
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if parameter.name in without or value is None or value == parameter.default:
            continue
        values = value if isinstance(value, list | tuple) else [value]
        options += [f"{parameter.opts[0]}={one}" for one in values]
    return options


def end_with_parent(pipe: int) -> None:
    """In a child: stop in order when the parent is gone, which holds the other end of `pipe`."""

    def wait() -> None:
        while os.read(pipe, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


class Child:
    """One process, kept running until the parent stops."""

    def __init__(self, number: int, command: Sequence[str], pipe: int, probes: socket.socket | None) -> None:
        self.number = number
        self._command = [*command, f"--parent-pipe={pipe}"]
        self._fds = [pipe]
        if probes:
            self._command.append(f"--probes-socket={probes.fileno()}")
            self._fds.append(probes.fileno())
        self._process: asyncio.subprocess.Process | None = None
        self.returncode: int | None = None

    async def keep(self, stop: asyncio.Event) -> None:
        """Run it until `stop`, again after each end, later each time; not after one because of a wrong call."""
        ends = 0
        while not stop.is_set():
            began = time.monotonic()
            # In a session of its own: Ctrl-C at a terminal is for the parent to pass on, once.
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command, pass_fds=self._fds, start_new_session=True
            )
            log.info("worker process started", process=self.number, pid=process.pid)
            if stop.is_set():  # it came meanwhile
                self.terminate()
            code = await process.wait()
            self._process = None
            if stop.is_set() or code == USAGE:
                # One that had only begun to start ends by the signal itself.
                self.returncode = 0 if code == -signal.SIGTERM else code
                stop.set()
                return
            ends = 1 if time.monotonic() - began > STEADY_SECONDS else ends + 1
            log.warning(
                "worker process ended, starting it again", process=self.number, pid=process.pid,
                code=code, seconds=backoff(ends),
            )  # fmt: skip
            await first(stop, seconds=backoff(ends))

    def terminate(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.terminate()


async def supervise(
    options: Sequence[str], names: Sequence[str | None], *, stop_seconds: float, listen: socket.socket | None
) -> int:
    """Run `outbox worker` with these options once for each name, until SIGTERM or SIGINT; returns the exit code.

    :param listen: where /healthz, /readyz and /metrics of all of them are served.
    """
    command = [sys.executable, "-P", "-m", "outbox", "worker", *options]
    pipe, held = os.pipe()  # `held` is closed with this process, however it ends
    inner = [socket.create_server(("127.0.0.1", 0)) if listen else None for _ in names]
    children = [
        Child(number, [*command, *([f"--consumer={name}"] if name else [])], pipe, probes)
        for number, (name, probes) in enumerate(zip(names, inner, strict=True))
    ]
    stop = asyncio.Event()
    on_signals(stop.set, seconds=stop_seconds, impatient="other workers take over what was in flight")
    with _served(listen, inner):
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child.keep(stop))
            await stop.wait()
            log.info("worker processes stopping", processes=len(children))
            for child in children:
                child.terminate()
    os.close(held)
    codes = {child.returncode for child in children}
    return USAGE if USAGE in codes else int(any(codes))


def _served(listen: socket.socket | None, inner: Sequence[socket.socket | None]) -> AbstractContextManager[None]:
    if listen is None:
        return nullcontext()
    from outbox.worker import fleet, probes

    return probes.served(fleet.health([int(one.getsockname()[1]) for one in inner if one]), listen)

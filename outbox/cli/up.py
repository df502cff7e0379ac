"""`outbox up`: everything in one terminal, with servers of its own, to try the product or to develop against it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated
from urllib.error import URLError
from urllib.request import urlopen

import typer

from outbox import schema
from outbox.cli.terminal import Terminal
from outbox.connections import connect_mongo
from outbox.embedded import Mongod, PortTaken, Process, RedisServer, ports
from outbox.embedded.mongod import fault_in
from outbox.embedded.supervisor import Supervisor, Ward
from outbox.settings import OutboxSettings, load

_TICK_SECONDS = 0.1
_READY_SECONDS = 30.0
_REDIS_PAUSE_SECONDS = 15.0


def up(
    data_dir: Annotated[Path, typer.Option(help="Where data and logs are kept, over restarts too.")] = Path(
        "outbox-data"
    ),
    port: Annotated[int, typer.Option(help="The API's port.", min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="The API's address.")] = "127.0.0.1",
) -> None:
    """Start MongoDB, Redis, API, relay and a demonstration worker, in one terminal.

    The servers are real ones, run as child processes and found on PATH or in the extra `embedded`. Ctrl-C stops all.

    Example:  outbox up --data-dir ./outbox-data --port 8000
    """
    settings = load(OutboxSettings)
    if ports.is_taken(host, port):
        raise PortTaken("the API", host, port, option="--port")
    terminal = Terminal()
    stop = _stop_on_signals()
    supervisor = Supervisor(terminal.tell)
    try:
        _start(Stack(settings, data_dir, host, port), supervisor, terminal, stop)
        while not stop.wait(_TICK_SECONDS) and not terminal.gone:
            supervisor.tick()
        supervisor.stop()
    except BaseException:
        # A server that did not start, or a second Ctrl-C: nobody is to be left behind, and nobody to be waited for.
        supervisor.kill()
        raise
    terminal.say(f"Stopped. The data stay in {data_dir}.")


class Stack:
    """The processes of `outbox up`, and how they find each other."""

    def __init__(self, settings: OutboxSettings, data_dir: Path, host: str, port: int) -> None:
        remembered = Ports(data_dir / "ports.json")
        self.data_dir = data_dir
        self.mongod = Mongod(
            data_dir / "mongod", port=remembered["mongod"], binary=settings.outbox_mongod, cache_gigabytes=0.5
        )

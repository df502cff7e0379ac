"""`outbox up`: everything in one terminal, with servers of its own, to try the product or to develop against it."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType
from typing import Annotated
from urllib.error import URLError
from urllib.request import urlopen

import typer
from rich.text import Text

from outbox import environment
from outbox.cli.terminal import Terminal
from outbox.embedded import PortTaken, ports
from outbox.embedded.stack import REDIS_PAUSE_SECONDS, Stack
from outbox.embedded.supervisor import Supervisor
from outbox.errors import UsageError
from outbox.message import schema
from outbox.operations import applications
from outbox.servers.connections import connect_mongo, open_database
from outbox.settings import OutboxSettings, load
from outbox.streams import declaring
from outbox.streams.declaration import FILE_STREAM
from outbox.web.keys import refuse_open_door

_TICK_SECONDS = 0.1
_READY_SECONDS = 30.0
_INTERRUPTED = 130
_KEYS = {"OUTBOX_API_KEYS", "OUTBOX_API_KEYS_FILE", "API_KEYS"}
_OPEN_TO_ALL = {"OUTBOX_API_OPEN_TO_ALL", "API_OPEN_TO_ALL"}


def up(
    data_dir: Annotated[Path, typer.Option(help="Keeps data and logs; start again with it and all is there.")] = Path(
        "outbox-data"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The API's port.")] = 8000,
    host: Annotated[str, typer.Option(help="The API's address.")] = "127.0.0.1",
) -> None:
    """Start MongoDB, Redis, API, relay and a demonstration worker in this terminal. Ctrl-C stops them all.

    The servers are real ones, from PATH or from the extra `embedded`, and run
    as children of this process. A child that dies is started again; Redis only
    15 seconds later, so that you can see an outage. Not for production.

    Examples:

        outbox up

        outbox up --data-dir ~/outbox-demo --port 8080
    """
    settings = load(OutboxSettings)
    if ports.is_taken(host, port):
        raise PortTaken("the API", host, port, remedy="choose another port with --port")
    set_ = environment.read().keys()
    refuse_open_door(host, keys=bool(set_ & _KEYS), open_to_all=bool(set_ & _OPEN_TO_ALL))
    _refuse_unusable(data_dir)
    terminal = Terminal()
    supervisor = Supervisor(terminal.tell)
    with _stop_on_signals() as stop:
        try:
            try:
                _run(Stack(settings, data_dir, host=host, port=port), supervisor, terminal, stop)
            finally:
                supervisor.stop()
        except KeyboardInterrupt:  # a second signal: do not wait for anything
            supervisor.kill()
            raise typer.Exit(_INTERRUPTED) from None
    terminal.say(f"Stopped. The data stay in {data_dir}")


def _refuse_unusable(data_dir: Path) -> None:
    """Raise UsageError unless files can be kept in the folder, which is made if it is not there."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        raise UsageError(
            f"data cannot be kept in {data_dir}: {error.strerror}. With --data-dir, name a folder that you may write to"
        ) from None


def _run(stack: Stack, supervisor: Supervisor, terminal: Terminal, stop: threading.Event) -> None:
    """Start everything, and look after it until `stop`."""
    for ward in stack.servers():
        terminal.tell(ward.process.name, "starting", note=True)
        supervisor.add(ward)
        if stop.is_set():
            return
    redis_version = stack.redis.version
    asyncio.run(_set_up(stack.connected()))
    for ward in stack.programs():
        terminal.tell(ward.process.name, "starting", note=True)
        supervisor.add(ward)
    ready_by = time.monotonic() + _READY_SECONDS
    while not stop.is_set() and not _answers(stack.url) and time.monotonic() < ready_by:
        supervisor.tick()
        stop.wait(_TICK_SECONDS)
    if not stop.is_set():
        _welcome(stack, redis_version, terminal)
    while not stop.wait(_TICK_SECONDS) and not terminal.gone:
        supervisor.tick()


async def _set_up(settings: OutboxSettings) -> None:
    async with connect_mongo(settings) as client:
        database = open_database(client, settings.place)
        streams = await declaring.of_settings(
            database, settings.streams, explicit=settings.declares, needs=[FILE_STREAM]
        )
        await schema.ensure(database, streams, applications.files())


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/health/live", timeout=1):  # noqa: S310
            return True
    except (URLError, OSError):
        return False


def _welcome(stack: Stack, redis_version: str, terminal: Terminal) -> None:
    terminal.say()
    for process, where in (
        (stack.mongod, stack.mongod.uri),
        (stack.redis, f"{stack.redis.url} ({redis_version})"),
        (stack.relay, "drains the outbox into the stream"),
        (stack.worker, "reads the stream and parses files"),
        (stack.api, f"{stack.url} (see it: {stack.url}/dashboard)"),
    ):
        terminal.tell(process.name, f"pid {process.pid:<8} {where:<55} log {process.log}", note=True)
    upload = f"curl -F 'file=@-;filename=hello.txt' -F folderId=demo {stack.url}/files"
    terminal.say(
        Text.assemble(
            ("\nThree things to try, in another terminal:\n", "bold"),
            "\n  1. Upload a file:\n",
            (f"       echo 'Hello, outbox' | {upload}\n", "cyan"),
            '\n  2. See its status change from "queued" to "parsed":\n',
            (f"       curl '{stack.url}/files?folderId=demo'\n", "cyan"),
            "\n  3. Kill Redis, and upload again while it is away. It is started again after "
            f"{REDIS_PAUSE_SECONDS:g} s, and the file is parsed then:\n",
            (f"       kill -9 {stack.redis.pid}\n", "cyan"),
            (f"       echo 'Hello again' | {upload}\n", "cyan"),
            "\nSo that the other commands find these servers, `outbox status` for one:\n",
            (f"       export MONGODB_URI='{stack.mongod.uri}' REDIS_URL={stack.redis.url}\n", "cyan"),
            f"\nCtrl-C stops everything. The data stay in {stack.data_dir}\n",
        )
    )


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one interrupts whatever goes on."""
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set() and number != signal.SIGHUP:
            raise KeyboardInterrupt
        stop.set()

    # SIGHUP: the terminal was closed. It may come together with another signal, which is no impatience then.
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

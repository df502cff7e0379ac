"""`outbox worker`: run a handler on the messages of some streams."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
import uvloop

from outbox import logs
from outbox.cli.finite import finite
from outbox.cli.processes import end_with_parent, options_of, supervise
from outbox.cli.signals import on_signals
from outbox.errors import UsageError
from outbox.settings import OutboxSettings, load
from outbox.web.listening import Address, address
from outbox.web.listening import listen as bind
from outbox.worker.consumer import Consumer
from outbox.worker.failures import TooManyLeft
from outbox.worker.handler import find
from outbox.worker.handlers import Handlers
from outbox.worker.handlers import load as load_handlers

if TYPE_CHECKING:
    from outbox.worker.monitoring import Monitoring

log = structlog.get_logger(__name__)


def worker(
    context: typer.Context,
    handler: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="Called with each message. Or Handlers, which choose one.")
    ],
    stream: Annotated[
        list[str] | None,
        typer.Option(
            help="Read this one, in all its priorities; may be given several times. By default all of OUTBOX_STREAMS; "
            "without it, those registered for --group, or the only one that is registered."
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Read as this group, where a stream is declared with several.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Messages worked on at a time: 10, or twice --batch for handle(messages)."),
    ] = None,
    consumer: Annotated[
        str | None, typer.Option(help="Its name in the group. By default a new one at each start.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Entries taken by one read, at most: 10, or 200 for handle(messages)."),
    ] = None,
    silent_seconds: Annotated[
        float,
        typer.Option(
            min=1,
            callback=finite,
            help="A worker without a sign of life for so long is dead: take over its entries.",
        ),
    ] = 30.0,
    stop_seconds: Annotated[
        float, typer.Option(min=0, callback=finite, help="From SIGTERM to giving back what is not finished.")
    ] = 25.0,
    handler_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=finite,
            help="How long one call of the handler may take; 0: no limit. By default handler_seconds of its stream.",
        ),
    ] = None,
    lifespan: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="A context manager; handlers get what it yields as `resources`."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve /healthz, /readyz and /metrics, such as [::]:8002; by default nowhere.",
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, help="So many workers, each a process; one that ends is started again.")
    ] = 1,
    parent_pipe: Annotated[int | None, typer.Option(hidden=True)] = None,
    probes_socket: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Work on messages as they come, each exactly once, until stopped.

    The handler gets the message and an open session. What it writes through that session and the completion of the
    message are one transaction: both happen or neither, however often it is called, whoever dies, and wherever.

        async def handle(message, session): ...      or without async: it is called in a thread

        async def handle(messages, session): ...     many in one transaction; one by one if it fails

        async def handle(message): ...               at least once, when it can use no transaction

    An exception puts the message back, to be tried again after the stream's backoff; after the last try it is dead, and
    its file ends as `error: …`. Raise outbox.worker.RetryAfter(seconds), Snooze(seconds) or GiveUp(reason) to say it
    otherwise.

    A handler that takes longer than its stream's handler_seconds (an hour) has failed: an async one is cancelled, and a
    thread, which cannot be stopped, is left without effect. A worker with as many left as its --concurrency ends with
    exit code 1, to be started again.

    SIGTERM takes nothing new, finishes what is in flight, and gives back what is not finished in time, so that another
    worker gets it at once. A second SIGTERM leaves at once. Both servers' outages are waited out.

    Examples:

        outbox worker --handler myapp.tasks:parse

        outbox worker --handler myapp.tasks:export --stream exports --concurrency 2

        outbox worker --handler myapp.tasks:parse --processes 4 --listen 127.0.0.1:8002
    """
    settings = load(OutboxSettings)
    logs.configure(settings)
    if settings.declares:
        for name in stream or ():
            _ = settings.streams[name]
    found = load_handlers(handler)
    served = _listen(listen, probes_socket)
    if processes > 1:
        names = [f"{consumer}-{number}" if consumer else None for number in range(processes)]
        options = options_of(context, without={"processes", "listen", "consumer"})
        raise typer.Exit(uvloop.run(supervise(options, names, stop_seconds=stop_seconds, listen=served)))
    if parent_pipe is not None:
        end_with_parent(parent_pipe)
    monitoring = _monitoring(found) if served else None
    made = Consumer(
        settings, found, streams=stream, group=group, name=consumer, concurrency=concurrency, batch=batch,
        silent_seconds=silent_seconds, stop_seconds=stop_seconds, handler_seconds=handler_seconds,
        own_process=True, lifespan=find(lifespan) if lifespan else None,
        count=monitoring.metrics.tried if monitoring else None,
    )  # fmt: skip
    if served and monitoring:
        monitoring.consumer = made
        _until_ended(made, _monitored(made, stop_seconds, monitoring, served))
    else:
        _until_ended(made, _run(made, stop_seconds))


def _until_ended(consumer: Consumer, running: Coroutine[Any, Any, None]) -> None:
    try:
        uvloop.run(running)
    except (SystemExit, KeyboardInterrupt) as error:
        # Of a task that a handler has started: asyncio ends its loop for the two. A handler's own are its failure.
        if consumer.processing is None or consumer.processing.stop.is_set():
            raise
        log.error("worker ends", reason=f"a task that a handler has started raised {error!r}")  # noqa: TRY400
        os._exit(1)


def _listen(place: str | None, inherited: int | None) -> socket.socket | None:
    if inherited is not None:
        return socket.socket(fileno=inherited)
    if place is None:
        return None
    try:
        where = address(place)
    except ValueError as error:
        raise UsageError(f"--listen: {place!r:.80} {error}") from None
    hint = "is another worker running here? Name another port, or 0 for one that is free"
    return bind(*where, name="--listen", hint=hint)


def _monitoring(handlers: Handlers) -> Monitoring:
    try:
        from outbox.worker.monitoring import Monitoring
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise UsageError("--listen needs prometheus-client: pip install 'outbox-relay[cli]'") from None
    return Monitoring(handlers)


async def _monitored(consumer: Consumer, stop_seconds: float, monitoring: Monitoring, listen: socket.socket) -> None:
    from outbox.worker.probes import served

    ticking = asyncio.create_task(monitoring.tick())
    with served(monitoring.health(), listen):
        log.info("probes served", address=str(Address(*listen.getsockname()[:2])))
        try:
            await _run(consumer, stop_seconds)
        finally:
            ticking.cancel()


async def _run(consumer: Consumer, stop_seconds: float) -> None:
    on_signals(consumer.stop, seconds=stop_seconds, impatient="another worker takes over what was in flight")
    try:
        await consumer.run()
    except TooManyLeft as error:
        log.error("worker ends", reason=str(error))  # noqa: TRY400  # the text says it all
        os._exit(1)
    if consumer.left_handlers:
        # They cannot be ended, and would keep the process; what they work on was given back, or has failed.
        os._exit(0)

"""`outbox relay`: run the daemon. Registered as a command by the entry point group `outbox.commands`."""

from __future__ import annotations

import socket
from typing import Annotated

import structlog
import typer
import uvloop

from outbox import environment, garbage, logs
from outbox.cli.signals import on_signals
from outbox.settings import OutboxSettings, load
from outbox.web.listening import Address, address, listen
from outbox_relay.daemon import Relay
from outbox_relay.settings import RelaySettings

log = structlog.get_logger(__name__)


def relay(
    once: Annotated[
        bool, typer.Option("--once", help="Drain until nothing is pending, then exit; whether workers read or not.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Where /healthz, /readyz and /metrics are served.")] = None,
    port: Annotated[int | None, typer.Option(help="0 picks a free port.", min=0, max=65535)] = None,
) -> None:
    """Drain the outbox into Redis Streams, until stopped.

    Run as many as you like: they share the partitions, and one that dies is replaced within OUTBOX_RELAY_LEASE_SECONDS.
    Starts with either server still down, and waits for it. SIGTERM finishes the current batches, gives the partitions
    back and leaves, within OUTBOX_RELAY_STOP_SECONDS; a second SIGTERM leaves at once. Either way nothing is lost.

    Examples:

        outbox relay

        outbox relay --port 0            beside another relay on this machine

        outbox relay --once              from cron, or before a migration
    """
    settings = load(RelaySettings)
    place = address(settings.relay_listen).at(host, port)
    outbox_settings = load(OutboxSettings)
    logs.configure(outbox_settings)
    if unread := environment.unread(RelaySettings.variables().values(), RelaySettings.prefix, environment.read()):
        log.warning("variables are not read", names=unread)
    garbage.collect_seldom()
    uvloop.run(_run(settings, outbox_settings, place, once))


async def _run(settings: RelaySettings, outbox_settings: OutboxSettings, place: Address, once: bool) -> None:
    daemon = Relay(settings, outbox_settings, listen=_listen(place), until_empty=once)
    on_signals(daemon.stop, seconds=settings.relay_stop_seconds, impatient="the next owner takes up what was in flight")
    await daemon.run()


def _listen(place: Address) -> socket.socket:
    hint = "is another relay running here? Use --port 0, or set OUTBOX_RELAY_LISTEN"
    return listen(*place, name="OUTBOX_RELAY_LISTEN", hint=hint)

"""`outbox relay`: run the daemon. Registered as a command by the entry point group `outbox.commands`."""

from __future__ import annotations

import socket
from typing import Annotated

import typer
import uvloop

from outbox import logs
from outbox.cli.signals import on_signals
from outbox.settings import OutboxSettings, load
from outbox.web.listening import listen
from outbox_relay.daemon import Relay
from outbox_relay.settings import RelaySettings


def relay(
    once: Annotated[
        bool, typer.Option("--once", help="Drain until nothing is pending, then exit; whether workers read or not.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Where /healthz, /readyz and /metrics are served.")] = None,
    port: Annotated[int | None, typer.Option(help="0 picks a free port.", min=0, max=65535)] = None,
) -> None:
    """Drain the outbox into Redis Streams, until stopped.

    Run as many as you like: they share the partitions, and one that dies is replaced within RELAY_LEASE_SECONDS.
    Starts with either server still down, and waits for it. SIGTERM finishes the batches in hand, gives the partitions
    back and leaves, within RELAY_STOP_SECONDS; a second SIGTERM leaves at once. Either way nothing is lost.

    Examples:

        outbox relay

        outbox relay --port 0            beside another relay on this machine

        outbox relay --once              from cron, or before a migration
    """
    overrides = {"relay_host": host, "relay_port": port}
    settings = load(RelaySettings, **{name: value for name, value in overrides.items() if value is not None})
    outbox_settings = load(OutboxSettings)
    logs.configure(outbox_settings)
    uvloop.run(_run(settings, outbox_settings, once))


async def _run(settings: RelaySettings, outbox_settings: OutboxSettings, once: bool) -> None:
    daemon = Relay(settings, outbox_settings, listen=_listen(settings), until_empty=once)
    on_signals(daemon.stop, seconds=settings.relay_stop_seconds, impatient="the next owner takes up what was in hand")
    await daemon.run()


def _listen(settings: RelaySettings) -> socket.socket:
    hint = "is another relay running here? Use --port 0, or set RELAY_PORT"
    return listen(settings.relay_host, settings.relay_port, names=("RELAY_HOST", "RELAY_PORT"), hint=hint)

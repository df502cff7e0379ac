"""`outbox streams`: look at the registered streams; pause, resume, change or remove one."""

from __future__ import annotations

from typing import Annotated

import typer

from outbox.cli.finite import finite
from outbox.cli.output import confirm, require_answerable, write_json, write_line, write_table
from outbox.cli.servers import Servers, run
from outbox.errors import UsageError
from outbox.operations import audit, pausing, registration
from outbox.operations.messages import plain
from outbox.streams import agreement, known
from outbox.streams.declaration import Stream
from outbox.streams.known import Known
from outbox.streams.pauses import Pause

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="Look at the registered streams; pause, resume, change or remove one.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="STREAM", help="The name of a registered stream.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the streams that are registered in the database.

    Example: outbox streams list --json
    """

    async def command(servers: Servers) -> Known:
        return await known.read(servers.database)

    all_ = run(command, registers=True)
    registered, faults = all_.streams, [str(fault) for fault in all_.faults]
    found = [_one(one, registered.pauses.of(one)) for one in registered.declared()] if registered else []
    if json:
        write_json({"streams": found, "not_understood": faults})
        return
    columns = ["name", "group", "groups", "partitions", "shards", "priorities"]
    rows = [[*(_shown(one[column]) for column in columns), "yes" if one["paused"] else "no"] for one in found]
    write_table("Streams", [*columns, "paused"], rows)
    for fault in faults:
        write_line(f"! {fault}")


@app.command("pause")
def pause(
    stream: Name,
    reason: Annotated[str | None, typer.Option(help="For those who find it paused.")] = None,
) -> None:
    """Pause a stream, with all its priorities, shards and groups, until it is resumed.

    Within a second relays publish nothing of it, and workers built on our consumer begin nothing of it; what a
    handler has begun is finished. Programs append as ever, and their messages wait in MongoDB. Workers of other kinds
    go on with what is in Redis already. `outbox status`, /readyz and the dashboard show that it is paused.

    Example: outbox streams pause orders --reason "the mail provider is down"
    """

    async def command(servers: Servers) -> bool:
        return await pausing.pause(servers.database, stream, who=audit.me(), reason=reason)

    write_line(f"stream {stream} is paused" if run(command, registers=True) else f"stream {stream} was paused already")


@app.command("resume")
def resume(stream: Name) -> None:
    """Let a paused stream go on, within a second.

    Example: outbox streams resume orders
    """

    async def command(servers: Servers) -> bool:
        return await pausing.resume(servers.database, stream, who=audit.me())

    write_line(f"stream {stream} goes on" if run(command, registers=True) else f"stream {stream} was not paused")


@app.command("change")
def change(
    stream: Name,
    partitions: Annotated[int | None, typer.Option(min=1, max=256, help="The new number of partitions.")] = None,
    as_declared: Annotated[
        bool, typer.Option("--as-declared", help="Take group, subject, shards and priorities from OUTBOX_STREAMS.")
    ] = False,
    programs_stopped: Annotated[
        bool,
        typer.Option("--programs-stopped", help="With --as-declared: programs with the old declaration are stopped."),
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=1, callback=finite, help="How long to wait until all relays have noticed.")
    ] = registration.NOTICE_SECONDS,
) -> None:
    """Change a registered stream.

    --partitions N: while all runs, whatever waits. Messages of one key keep their order. Afterwards set the new number
    in OUTBOX_STREAMS; programs that still declare the earlier one start, and use the new one.

    --as-declared: group, groups, subject, shards and priorities as OUTBOX_STREAMS declares them. Steps: 1. stop the
    programs that append to the stream; 2. wait until nothing of it is scheduled, pending or published; 3. stop its
    workers; 4. run this with --programs-stopped; 5. start all with the new declaration. Refused while messages wait.

    Examples:

        outbox streams change orders --partitions 16

        outbox streams change orders --as-declared --programs-stopped
    """
    if (partitions is None) is not as_declared:
        raise UsageError("say what to change: --partitions N, or --as-declared")
    if as_declared and not programs_stopped:
        raise UsageError(
            "programs that run with the old declaration would go on by it, with messages out of order or without a "
            f"worker: stop all that append to {stream!r} or read from it, then add --programs-stopped"
        )

    async def command(servers: Servers) -> bool:
        if partitions is not None:
            return await registration.change_partitions(servers.database, stream, partitions, seconds=seconds)
        if not servers.settings.declares:  # the built-in default is nobody's declaration of a registered stream
            raise UsageError(
                f"OUTBOX_STREAMS is not set here: set it to the declaration of {stream!r} that the programs will have"
            )
        return await registration.change_as_declared(servers.database, servers.streams[stream])

    write_line(f"stream {stream} is changed" if run(command, registers=True) else "there was nothing to do")


@app.command("remove")
def remove(stream: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Remove a stream from the registry, with its leases; refused unless all of its messages are done.

    Relays leave it alone from then on. The stream's key in Redis stays as it is. Stop what appends to it before, and
    take it out of OUTBOX_STREAMS: `outbox init` would register it again.

    Example: outbox streams remove exports
    """
    require_answerable(yes=yes)
    confirm(f"remove stream {stream} from the registry?", yes=yes)

    async def command(servers: Servers) -> None:
        await registration.remove(servers.database, stream)

    run(command, registers=True)
    write_line(f"stream {stream} is removed")


def _one(stream: Stream, pause: Pause | None) -> dict[str, object]:
    return {
        "name": stream.name, **plain(agreement.dump(stream)),
        "paused": plain(pause.as_json()) if pause else None,
    }  # fmt: skip


def _shown(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value

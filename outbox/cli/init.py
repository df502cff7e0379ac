"""`outbox init`: set the database up."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from outbox.cli.output import write_json, write_line
from outbox.cli.servers import Refused, Servers, run
from outbox.errors import Owner, SchemaError
from outbox.message import schema, subject_check
from outbox.operations import applications, audit
from outbox.protocol.ownership import Ownership, is_another, own, owner
from outbox.streams import declaring, registry
from outbox.streams.declaration import FILE_STREAM, Streams


def init(
    files: Annotated[bool, typer.Option("--files", help="Set up the files application (the API) as well.")] = False,
    adopt_collection: Annotated[
        list[str], typer.Option(help="With --files: take over this collection of the system before. Repeatable.")
    ] = [],  # noqa: B006  # Typer does not change it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    adopt_streams: Annotated[
        bool,
        typer.Option(
            "--adopt-streams",
            help="Take over declared streams in Redis that belong to another outbox, which can use them no longer.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON: what was done.")] = False,
) -> None:
    """Create the collections, validator and indexes that are missing in MongoDB, and register the streams.

    Run it before the first start, and after each update; any number of times,
    by several at once. All programs check at their start that it was done.

    It changes only what it has made. A collection of somebody else that has a
    name which is needed is refused, before anything is changed: choose another
    OUTBOX_PREFIX or OUTBOX_DATABASE. Where the files application was set up
    once, later runs see to it without --files.

    The streams of OUTBOX_STREAMS are registered beside those of others, and relays drain them from then on. What is
    registered counts: a declaration that contradicts it is refused, here and at the start of every program. See
    `outbox streams --help` for what can be changed. Where OUTBOX_STREAMS is not set, registered streams stay as they
    are, and the file stream is registered only if there is none yet, or if the files application has none.

    A stream in Redis belongs to the outbox whose relay published there first, and all others leave it alone. When its
    database was renamed, or made anew, --adopt-streams gives it to this one. Stop the other one's relays and workers
    before: what it had published, and is not done, is in no database of this outbox.

    Examples:

        outbox init

        outbox init --files

        outbox init --files --adopt-collection files

        OUTBOX_PREFIX=orders_outbox outbox init --dry-run

        outbox init --adopt-streams
    """

    async def command(servers: Servers) -> tuple[str, list[str], list[str]]:
        done, warnings = await _init(servers, files, adopt_collection, dry_run=dry_run, adopt_streams=adopt_streams)
        return servers.database.name, done, warnings

    database, done, warnings = run(command, registers=True)
    if json:
        planned = {"planned": done} if dry_run else {}
        write_json({"database": database, "done": [] if dry_run else done, "warnings": warnings} | planned)
        return
    for line in done:
        write_line(f"would have {line}" if dry_run else line)
    for line in warnings:
        write_line(f"warning: {line}")
    nothing = "" if done else "; there is nothing to do" if dry_run else "; there was nothing to do"
    write_line(f"database {database}{': nothing was changed' if dry_run else ' is set up'}{nothing}")


async def _init(
    servers: Servers, files: bool, adopt: list[str], *, dry_run: bool, adopt_streams: bool
) -> tuple[list[str], list[str]]:
    hello = await servers.database.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise Refused(
            f"MongoDB at {servers.settings.mongodb_address} is no replica set, and without one it has no transactions. "
            "Start it with --replSet rs0 and run rs.initiate() once; one member is enough"
        )
    parts = [applications.files()] if files else await applications.set_up_here(servers.database)
    needs = [FILE_STREAM] if parts else []
    streams = await declaring.of_settings(
        servers.database, servers.streams, explicit=servers.settings.declares, needs=needs
    )
    done = await schema.ensure(servers.database, streams, *parts, adopt=adopt, dry_run=dry_run)
    if adopt_streams:
        done += await _would_adopt(servers, streams) if dry_run else await _adopt(servers)
    return done, await subject_check.differences(servers.database, streams)


async def _adopt(servers: Servers) -> list[str]:
    """May be repeated: a stream that is taken over already is left as it is."""
    ownership, done = Ownership(servers.redis, await own(servers.database)), []
    streams = await registry.read(servers.database) or servers.streams
    for stream in streams.values():
        if former := await ownership.take_over(stream):
            await audit.record(
                servers.database, who=audit.me(), action="adopt-stream", count=1,
                details={"stream": stream.name, "from": former.identity, "database": former.database},
            )  # fmt: skip
            done.append(f"took over stream {stream.name} from {former}")
    return done


async def _would_adopt(servers: Servers, declared: Streams) -> list[str]:
    """The same as far as it can be seen now, with `declared` not registered yet."""
    registered = await registry.read(servers.database)
    families = {**(registered.families() if registered else {}), **declared.families()}
    prefix = declared.prefix or (registered.prefix if registered else "")
    streams = Streams(replace(stream, prefix=prefix) for stream in families.values())
    try:
        ours = await own(servers.database)
    except SchemaError:  # none yet, so that all that belong to anybody are others'
        ours = Owner("", servers.database.name)
    found = [(stream, await owner(servers.redis, stream)) for stream in streams.values()]
    return [f"taken over stream {stream.name} from {one}" for stream, one in found if one and is_another(one, ours)]

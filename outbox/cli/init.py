"""`outbox init`: set the database up."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from outbox.cli.output import write_json, write_line
from outbox.cli.servers import Refused, Servers, run
from outbox.message import schema, subject_check
from outbox.operations import audit
from outbox.protocol.ownership import Ownership, own


def init(
    adopt_streams: Annotated[
        bool,
        typer.Option(
            "--adopt-streams",
            help="Take over declared streams in Redis that belong to another outbox, which can use them no longer.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON: what was done.")] = False,
) -> None:
    """Create collections, validator and indexes in MongoDB, or correct those that differ, and register the streams.

    Run it before the first start, and after each update. It never deletes data, and may be run again at any time, by
    several at once. All programs check at their start that it was done.

    The streams of OUTBOX_STREAMS are registered beside those of others, and relays drain them from then on. What is
    registered counts: a declaration that contradicts it is refused, here and at the start of every program. See
    `outbox streams --help` for what can be changed.

    A stream in Redis belongs to the outbox whose relay published there first, and all others leave it alone. When its
    database was renamed, or made anew, --adopt-streams gives it to this one. Stop the other one's relays and workers
    before: what it had published, and is not done, is in no database of this outbox.

    Examples:

        outbox init

        MONGODB_DATABASE=staging outbox init

        outbox init --adopt-streams
    """
    database, done, warnings = run(partial(_init, adopt_streams=adopt_streams), registers=True)
    if json:
        write_json({"database": database, "done": done, "warnings": warnings})
    for line in () if json else done:
        write_line(line)
    for line in () if json else warnings:
        write_line(f"warning: {line}")
    if not json:
        write_line(f"database {database} is set up" + ("" if done else "; there was nothing to do"))


async def _init(servers: Servers, *, adopt_streams: bool) -> tuple[str, list[str], list[str]]:
    hello = await servers.database.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise Refused(
            f"MongoDB at {servers.settings.mongodb_address} is no replica set, and without one it has no transactions. "
            "Start it with --replSet rs0 and run rs.initiate() once; one member is enough"
        )
    done = await schema.ensure(servers.database, servers.streams)
    done += await _adopt(servers) if adopt_streams else []
    return servers.database.name, done, await subject_check.differences(servers.database, servers.streams)


async def _adopt(servers: Servers) -> list[str]:
    """May be repeated: a stream that is taken over already is left as it is."""
    ownership, done = Ownership(servers.redis, await own(servers.database)), []
    for stream in servers.streams.values():
        if former := await ownership.take_over(stream):
            await audit.record(
                servers.database, who=audit.me(), action="adopt-stream", count=1,
                details={"stream": stream.name, "from": former.identity, "database": former.database},
            )  # fmt: skip
            done.append(f"took over stream {stream.name} from {former}")
    return done

"""`outbox init`: set the database up."""

from __future__ import annotations

from typing import Annotated

import typer

from outbox.cli.output import write_json, write_line
from outbox.cli.servers import Refused, Servers, run
from outbox.message import schema, subject_check


def init(
    json: Annotated[bool, typer.Option("--json", help="Write JSON: what was done.")] = False,
) -> None:
    """Create collections, validator and indexes in MongoDB, or correct those that differ.

    Run it before the first start, and after each update. It never deletes data, and may be run again at any time, by
    several at once. API and relay check at their start that it was done.

    Examples:

        outbox init

        MONGODB_DATABASE=staging outbox init
    """
    database, done, warnings = run(_init)
    if json:
        write_json({"database": database, "done": done, "warnings": warnings})
    for line in () if json else done:
        write_line(line)
    for line in () if json else warnings:
        write_line(f"warning: {line}")
    if not json:
        write_line(f"database {database} is set up" + ("" if done else "; there was nothing to do"))


async def _init(servers: Servers) -> tuple[str, list[str], list[str]]:
    hello = await servers.database.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise Refused(
            f"MongoDB at {servers.settings.mongodb_address} is no replica set, and without one it has no transactions. "
            "Start it with --replSet rs0 and run rs.initiate() once; one member is enough"
        )
    done = await schema.ensure(servers.database, servers.streams)
    return servers.database.name, done, await subject_check.differences(servers.database, servers.streams)

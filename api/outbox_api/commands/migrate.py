"""`outbox migrate`: take over what the system before the outbox has left waiting."""

from __future__ import annotations

from typing import Annotated

import typer

from outbox.cli.output import progress_bar, write_json, write_line
from outbox.cli.servers import Servers, run
from outbox.message import schema
from outbox.operations import applications, audit
from outbox.streams.declaration import FILE_STREAM, Priority
from outbox_api.uploads.migration import Migrated, Migration


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; change nothing.")] = False,
    priority: Annotated[
        Priority, typer.Option(help="Other than normal: as OUTBOX_STREAMS declares.")
    ] = Priority.NORMAL,
    json: Annotated[bool, typer.Option("--json", help="Write JSON: how many of each kind, and migrated.")] = False,
) -> None:
    """Give each file that still waits from before the outbox a message, and so a place in the stream.

    These are files that the old fallback left in `parsing start`, and files that are `queued` although neither a
    message nor an entry in the stream speaks of them. The old API and the old pollers must be stopped: they know
    nothing of this, and a file would be parsed twice. Old stream workers can go on.

    Refused where the outbox was not set up with the files application: run `outbox init --files`. Another outbox in the
    same database may have messages about the files.

    May be interrupted, and run again: no file gets a second message. After it was killed, the next run may have to wait
    for a minute, until MongoDB has given up what was under way.

    Examples:

        outbox migrate --dry-run

        outbox migrate --priority low    so that new uploads do not wait behind old ones
    """

    async def command(servers: Servers) -> Migrated:
        await schema.check(servers.database, servers.streams)
        await applications.check_files(servers.database)
        _ = servers.streams.serving(FILE_STREAM, priority)
        size = servers.settings.outbox_max_message_bytes
        migration = Migration(servers.database, servers.redis, servers.streams, max_message_bytes=size)
        with progress_bar("migrating", await migration.count_waiting()) as advance:
            return await migration.run(priority=priority, who=audit.me(), dry_run=dry_run, progress=advance)

    done = run(command)
    if json:
        write_json(done.as_json() | {"dry_run": dry_run})
        return
    write_line(f"in `parsing start`: {done.fallback}; queued, and lost: {done.lost}")
    if done.in_stream:
        write_line(f"queued, and still in the stream, so left to the workers: {done.in_stream}")
    write_line("nothing was changed" if dry_run else f"{done.migrated} have a message now")

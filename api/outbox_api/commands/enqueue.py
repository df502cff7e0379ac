"""`outbox enqueue`: add tasks by hand."""

from __future__ import annotations

from typing import Annotated

import typer
from bson import ObjectId

from outbox.append import Outbox
from outbox.cli.output import write_json, write_line
from outbox.cli.servers import Servers, run
from outbox.errors import UsageError
from outbox.message import schema
from outbox.operations import applications, audit
from outbox.streams.declaration import Priority
from outbox_api.uploads.reparse import reparse


def _read_id(text: str) -> ObjectId:
    if not ObjectId.is_valid(text):
        raise UsageError(f"{text!r:.60} is not a file id: one has 24 hexadecimal digits")
    return ObjectId(text)


def enqueue(
    ids: Annotated[list[ObjectId], typer.Argument(parser=_read_id, metavar="FILE_ID…", help="Ids of files.")],
    priority: Annotated[
        Priority, typer.Option(help="Other than normal: as OUTBOX_STREAMS declares.")
    ] = Priority.NORMAL,
    json: Annotated[bool, typer.Option("--json", help="Write JSON: file ids and message ids.")] = False,
) -> None:
    """Queue files to be parsed again: each record becomes `queued`, in its next version, and a message is appended.

    All of them in one transaction, or, when one id is unknown, none. Each call adds a task of its own: called twice, a
    file is parsed twice.

    Refused where the outbox was not set up with the files application: run `outbox init --files`. Another outbox in the
    same database may have messages about the files.

    Examples:

        outbox enqueue 65a1f0c2e4b0a1b2c3d4e5f6

        outbox enqueue --priority high 65a1f0c2e4b0a1b2c3d4e5f6

        xargs outbox enqueue < ids.txt
    """
    file_ids = list(dict.fromkeys(ids))

    async def command(servers: Servers) -> dict[ObjectId, ObjectId]:
        await schema.check(servers.database, servers.streams)
        await applications.check_files(servers.database)
        size = servers.settings.outbox_max_message_bytes
        place = servers.settings.place
        outbox = Outbox(servers.streams, database=place.database, prefix=place.prefix, max_message_bytes=size)
        return await reparse(servers.database, outbox, file_ids, priority=priority, who=audit.me())

    queued = run(command)
    if json:
        write_json({"enqueued": [{"file_id": str(file), "message_id": str(queued[file])} for file in file_ids]})
        return
    for file in file_ids:
        write_line(f"file {file} is queued as message {queued[file]}")

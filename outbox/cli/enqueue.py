"""`outbox enqueue`: add tasks by hand."""

from __future__ import annotations

from typing import Annotated

import typer
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import files, schema, transaction
from outbox.append import Outbox
from outbox.cli.output import write_json, write_line
from outbox.cli.servers import Servers, run
from outbox.errors import UsageError
from outbox.streams import FILE_STREAM


def _read_id(text: str) -> ObjectId:
    if not ObjectId.is_valid(text):
        raise UsageError(f"{text!r:.60} is not a file id: one has 24 hexadecimal digits")
    return ObjectId(text)


def enqueue(
    ids: Annotated[list[ObjectId], typer.Argument(parser=_read_id, metavar="FILE_ID…", help="Ids of files.")],
    json: Annotated[bool, typer.Option("--json", help="Write JSON: file ids and message ids.")] = False,
) -> None:
    """Queue files to be parsed again: each record becomes `queued`, in its next version, and a message is appended.

    All of them in one transaction, or, when one id is unknown, none. Each call adds a task of its own: called twice, a
    file is parsed twice.

    Examples:

        outbox enqueue 65a1f0c2e4b0a1b2c3d4e5f6

        xargs outbox enqueue < ids.txt
    """
    file_ids = list(dict.fromkeys(ids))

    async def command(servers: Servers) -> list[ObjectId]:
        await schema.check(servers.database, servers.streams)
        return await _enqueue(servers, file_ids)

    message_ids = run(command)
    queued = [{"file_id": str(f), "message_id": str(m)} for f, m in zip(file_ids, message_ids, strict=True)]
    if json:
        write_json({"enqueued": queued})
        return
    for task in queued:
        write_line(f"file {task['file_id']} is queued as message {task['message_id']}")


async def _enqueue(servers: Servers, file_ids: list[ObjectId]) -> list[ObjectId]:
    outbox = Outbox(
        servers.streams,
        database=servers.database.name,
        max_message_bytes=servers.settings.outbox_max_message_bytes,
    )
    appended: list[ObjectId] = []

    async def body(session: AsyncClientSession) -> None:
        appended.clear()
        await files.requeue(session, servers.database, file_ids)
        for file_id in file_ids:
            record = await servers.database[schema.FILES].find_one({"_id": file_id}, {"folder_id": 1}, session=session)
            folder_id = (record or {}).get("folder_id") or ""
            fields = {"file_id": str(file_id), "reparse": "true", "folder_id": folder_id}
            appended.append(await outbox.append(session, FILE_STREAM, fields, key=str(file_id)))

    async def happened() -> bool:
        return await files.happened(servers.database, file_ids[0], appended[0])

    await transaction.run(servers.mongo, body, happened=happened)
    return appended

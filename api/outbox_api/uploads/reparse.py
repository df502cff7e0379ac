"""Reparse: files that are stored already become tasks again, by a request or by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.append import Outbox
from outbox.database import FILES, Database
from outbox.draft import Draft
from outbox.operations import audit
from outbox.protocol.settled import complete_settled
from outbox.servers import transaction
from outbox.streams.declaration import FILE_STREAM, Priority
from outbox_api.uploads import records as files

Still = Callable[[Sequence[ObjectId], AsyncClientSession], Awaitable[Sequence[ObjectId]]]
"""Those of some files that are still to be queued, by what the session's transaction reads."""

MAX_TOLD = 100
"""How many files the audit names of one call; it counts all."""


async def reparse(
    database: Database,
    outbox: Outbox,
    file_ids: Sequence[ObjectId],
    *,
    folder_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    priority: Priority = Priority.NORMAL,
    who: str | None = None,
    still: Still | None = None,
    seconds: float = 20.0,
) -> dict[ObjectId, ObjectId]:
    """Queue the files again, each in its next version, with a message for each; returns the message id of each file.

    All of them in one transaction, or none. A second call queues them once more, unless `still` leaves them out.

    :param who: puts it on record as what an operator did; without, it is the application's daily work.
    :param still: asked in the transaction. That changes the record of each file that it queues: whoever does so at the
        same moment makes it begin anew, and ask again.
    :param folder_id: what the workers are told; by default each file's own folder.
    :raises NoSuchFile, StillUploading: with the ids in question, and then nothing has changed.
    :raises NoSuchPriority: likewise.
    :raises CommitUnknown: whether it happened could not be found out in `seconds`.
    """
    messages: dict[ObjectId, ObjectId] = {}

    async def body(session: AsyncClientSession) -> None:
        messages.clear()  # of a run before, which had no effect
        if wanted := file_ids if still is None else await still(file_ids, session):
            await queue(wanted, session)

    async def queue(file_ids: Sequence[ObjectId], session: AsyncClientSession) -> None:
        await complete_settled(database, outbox.streams, FILES, file_ids, session)
        folders = await files.check_complete(session, database, file_ids)
        drafts, writes = [], []
        for file_id in file_ids:
            folder = folders.get(file_id) or "" if folder_id is None else folder_id
            fields = {"file_id": str(file_id), "reparse": "true", "folder_id": folder}
            drafts.append(Draft(fields, headers=headers, **files.naming(file_id)))
            writes.append(files.requeue(database, file_id, drafts[-1].id))
        ids = await outbox.append_many(session, FILE_STREAM, drafts, priority=priority, writes=writes)
        messages.update(zip(file_ids, ids, strict=True))
        if who:
            await audit.record(
                database, who=who, action="enqueue", count=len(messages),
                details={"files": list(messages)[:MAX_TOLD]}, session=session,
            )  # fmt: skip

    async def happened() -> bool:
        first = next(iter(messages), None)
        return first is not None and await files.happened(database, first, messages[first])

    await transaction.run(database.client, body, happened=happened, seconds=seconds)
    return messages

"""One reparse: any number of files queued again, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from api.state import State
from outbox import files, transaction
from outbox.streams import FILE_STREAM

log = structlog.get_logger(__name__)


async def reparse(state: State, file_ids: Sequence[ObjectId], folder_id: str, headers: Mapping[str, str]) -> None:
    """Queue the files again, each in its next version, with a message for each.

    A repeated call queues them once more. Raises NoSuchFile or StillUploading with the ids in question, and then
    nothing has changed; CommitUnknown.
    """
    messages: dict[ObjectId, ObjectId] = {}

    async def body(session: AsyncClientSession) -> None:
        await files.requeue(session, state.database, file_ids)
        for file_id in file_ids:
            fields = {"file_id": str(file_id), "reparse": "true", "folder_id": folder_id}
            messages[file_id] = await state.outbox.append(
                session, FILE_STREAM, fields, key=str(file_id), headers=headers
            )
        await files.name_messages(session, state.database, messages)

    first = file_ids[0]
    await transaction.run(
        state.mongo,
        body,
        happened=lambda: files.happened(state.database, first, messages.get(first)),
        seconds=state.settings.api_commit_seconds,
    )
    log.info("queued_again", file_ids=[str(file_id) for file_id in file_ids], folder_id=folder_id)

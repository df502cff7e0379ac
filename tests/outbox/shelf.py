"""Stored messages in whatever state a test needs them, written without the relay that would bring them there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from outbox.database import FILES, OUTBOX, Database, Document
from outbox.message.document import State, new_document
from outbox.streams.declaration import FILES as STREAM

AN_HOUR = timedelta(hours=1)


def a_document(state: State = State.PENDING, key: str | None = None, **values: Any) -> Document:
    """A valid message, appended and, if its state says so, published an hour ago."""
    key = key or str(ObjectId())
    then = values.pop("at", datetime.now(UTC) - AN_HOUR)
    document = new_document(
        STREAM, {"file_id": key}, key=key, headers=None, available_at=None, now=then, max_bytes=10_000
    )
    # As if made then: an id begins with its time.
    document["_id"] = ObjectId(ObjectId.from_datetime(then).binary[:4] + document["_id"].binary[4:])
    document["state"] = state.value
    if state in (State.PUBLISHED, State.COMPLETED):
        document |= {"attempts": 1, "batch": 1, "tag": "t", "published_at": then}
    if state is State.COMPLETED:
        document["completed_at"] = then
    if state is State.DEAD:
        document |= {"last_error": "cannot be sent", "died_at": then}
    if state is State.SCHEDULED:
        document["available_at"] = then
    return document | values


class Shelf:
    """Puts messages and files into a database, and looks at them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.messages = database[OUTBOX]
        self.files = database[FILES]

    async def put(self, state: State, count: int = 1, **values: Any) -> list[ObjectId]:
        """Ids of new messages in `state`."""
        documents = [a_document(state, **values) for _ in range(count)]
        await self.messages.insert_many(documents, bypass_document_validation=True)
        return [document["_id"] for document in documents]

    async def put_file(self, parsing: str) -> str:
        """The key of a new file."""
        file_id = ObjectId()
        await self.files.insert_one({"_id": file_id, "parsing": parsing, "version": 1})
        return str(file_id)

    async def get(self, message: ObjectId) -> Document:
        found = await self.messages.find_one({"_id": message})
        assert found, f"there is no message {message}"
        return found

    async def states(self, *messages: ObjectId) -> list[str]:
        return [(await self.get(message))["state"] for message in messages]

    async def parsing(self, key: str) -> str:
        found = await self.files.find_one({"_id": ObjectId(key)})
        assert found
        return str(found["parsing"])

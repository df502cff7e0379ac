"""Subjects: the documents that a stream's messages are about, changed together with what becomes of the messages."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.message.document import State
from outbox.message.schema import FILES, OUTBOX, Database, Document
from outbox.printable import printable
from outbox.streams.declaration import Subject

ON_THE_WAY = [State.SCHEDULED.value, State.PENDING.value, State.PUBLISHED.value]
MAX_ERROR = 500


def subject_id(key: object) -> object:
    """The `_id` that a message's key names."""
    return ObjectId(key) if isinstance(key, str) and ObjectId.is_valid(key) else key


def key_of(message: Document) -> str:
    """Its key, or "" when what stands there is none: then it is about nothing that could be looked up."""
    key = message.get("key")
    return key if isinstance(key, str) else ""


def waiting(subject: Subject, key: object) -> Document:
    """Matches the subject of `key` while it still waits for a result."""
    return {"_id": subject_id(key), subject.field: subject.wanted}


def others(key: object, message: ObjectId) -> Document:
    """Matches messages on their way that speak of `key` too: a reparse, or the next step of the work."""
    return {"key": key, "_id": {"$ne": message}, "state": {"$in": ON_THE_WAY}}


async def change(
    database: Database, subject: Subject, query: Document, value: str, session: AsyncClientSession
) -> None:
    """In a transaction: set the subject's field to `value`, if the subject matches `query`."""
    update: Document = {"$set": {subject.field: value}}
    if subject.collection == FILES:
        update |= {"$inc": {"version": 1}, "$currentDate": {"updated_at": True}}
    await database.application[subject.collection].update_one(query, update, session=session)


async def end_in_error(
    database: Database, subject: Subject | None, key: object, message: ObjectId, value: str, session: AsyncClientSession
) -> None:
    """In a transaction that ends `message`: subject ends as `value`, unless another message of it is on its way."""
    if subject is None or await database[OUTBOX].find_one(others(key, message), {"_id": 1}, session=session):
        return
    await change(database, subject, waiting(subject, key), value, session)


def as_error(text: Any) -> str:
    """One line, of a length that a list of files can show."""
    return printable(f"error: {' '.join(str(text).split())}"[:MAX_ERROR])

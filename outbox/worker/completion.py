"""Completion: where a message stands before its handler is called, and its last write, in the handler's transaction.

The message itself is the fence: it is completed by a compare-and-set on its state and attempts. Of two transactions for
one message, the second finds it completed, and takes back all that its handler wrote.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from outbox.database import LENIENT, OUTBOX, UNIQUE, Database, Document, PlainDatabase
from outbox.message import subjects, transitions, uniques
from outbox.message.document import Sent, State
from outbox.streams.declaration import Stream
from outbox.worker.failures import Unsettled
from outbox.worker.message import Message

TRANSACTION: dict[str, Any] = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": WriteConcern("majority"),
    "read_preference": ReadPreference.PRIMARY,
}
LOOK_SECONDS = 10.0


class Standing(Enum):
    """How a message stands to an entry that speaks of it."""

    WANTED = "wanted"
    UNMARKED = "not marked published yet"
    COMPLETED = "completed already"
    SUPERSEDED = "superseded by a later attempt, or dead"
    UNKNOWN = "not in the outbox: pruned, or discarded"


class Superseded(Exception):
    """The message has an outcome, or a later attempt, so that this attempt must have no effect."""


async def look(database: Database, sent: Sent) -> tuple[Standing, Document]:
    """Where the message stands to this attempt, and what is stored of it.

    A majority's word is enough for what cannot change any more. That a message is not there, or not yet so far, is
    asked again, in a way that a primary which another one has replaced cannot answer: on such a word, an entry would be
    acknowledged that is still wanted.
    """
    standing, document = await _look(database, sent, ReadConcern("majority"))
    attempts = document.get("attempts")
    if standing is Standing.SUPERSEDED and isinstance(attempts, int) and attempts >= sent.attempt:
        return standing, document
    if standing in (Standing.SUPERSEDED, Standing.UNKNOWN):
        return await _look(database, sent, ReadConcern("linearizable"))
    return standing, document


async def _look(database: Database, sent: Sent, read_concern: ReadConcern) -> tuple[Standing, Document]:
    messages = database[OUTBOX].with_options(codec_options=LENIENT, read_concern=read_concern)
    with pymongo.timeout(LOOK_SECONDS):
        document = await messages.find_one({"_id": sent.id})
    if document is None:
        return Standing.UNKNOWN, {}
    match document.get("state"), document.get("attempts"):
        case State.PUBLISHED.value, sent.attempt:
            return Standing.WANTED, document
        case State.PENDING.value, attempts if attempts == sent.attempt - 1:
            return Standing.UNMARKED, document
        case State.COMPLETED.value, _:
            return Standing.COMPLETED, document
    return Standing.SUPERSEDED, document


async def complete(database: Database, stream: Stream, message: Message, session: AsyncClientSession | None) -> None:
    """The last write of the handler's transaction; without a session, one by itself, after the handler's work.

    :raises Superseded: then the transaction must be aborted.
    :raises Unsettled: the subject still waits, and nothing that was written would make it wait no longer.
    """
    if session is None and await _still_waits(database, stream, message, None):
        raise _unsettled(stream, message)
    result = await database[OUTBOX].update_one(*transitions.complete(_sent(message)), session=session)
    if not result.modified_count:
        raise Superseded
    if session is not None:
        for update in uniques.touch(stream, [message]):
            await database[UNIQUE].update_one(*update, session=session)
    if session is not None and await _still_waits(database, stream, message, session):
        raise _unsettled(stream, message)


async def _still_waits(
    database: Database, stream: Stream, message: Message, session: AsyncClientSession | None
) -> bool:
    subject = stream.subject
    if subject is None:
        return False
    documents = subjects.collection_of(database, subject)
    if await documents.find_one(subjects.waiting(subject, message.naming), {"_id": 1}, session=session) is None:
        return False
    others = subjects.others(subject, message.naming, message.id)
    return await database[OUTBOX].find_one(others, {"_id": 1}, session=session) is None


def complete_sync(database: PlainDatabase, stream: Stream, message: Message, session: ClientSession) -> None:
    """`complete`, for a plain handler's transaction."""
    result = database[OUTBOX].update_one(*transitions.complete(_sent(message)), session=session)
    if not result.modified_count:
        raise Superseded
    for update in uniques.touch(stream, [message]):
        database[UNIQUE].update_one(*update, session=session)
    subject = stream.subject
    if subject is None:
        return
    documents = database.application[subject.collection].with_options(codec_options=LENIENT)
    if documents.find_one(subjects.waiting(subject, message.naming), {"_id": 1}, session=session) is None:
        return
    if database[OUTBOX].find_one(subjects.others(subject, message.naming, message.id), {"_id": 1}, session=session):
        return
    raise _unsettled(stream, message)


def _sent(message: Message) -> Sent:
    return Sent(message.id, message.attempt)


def _unsettled(stream: Stream, message: Message) -> Unsettled:
    subject = stream.subject
    assert subject
    return Unsettled(
        f"the handler returned and {subject.collection}.{subject.field} of {message.key} is still {subject.shown}: "
        "let it write the result through its session, append the next step's message, or raise"
    )

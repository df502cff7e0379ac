"""Completion: where a message stands before its handler is called, and its last write, in the handler's transaction.

The message itself is the fence: it is completed by a compare-and-set on its state and attempts. Of two transactions for
one message, the second finds it completed, and takes back all that its handler wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.errors import WriteError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from outbox.database import LENIENT, OUTBOX, UNIQUE, Database, Document, PlainDatabase
from outbox.message import subjects, transitions, uniques
from outbox.message.document import Sent, State, by_attempt
from outbox.servers.outages import Trouble, classify
from outbox.servers.together import Together
from outbox.streams.declaration import Stream
from outbox.worker.failures import Failed, Unsettled
from outbox.worker.message import Message

TRANSACTION: dict[str, Any] = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": WriteConcern("majority"),
    "read_preference": ReadPreference.PRIMARY,
}
LOOK_SECONDS = 10.0
COMPLETION_SECONDS = 30.0


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

    A majority's word is enough for what cannot change any more. That a message is not there, or has an outcome from
    before this attempt, is asked again, in a way that a primary which another one has replaced cannot answer: on such a
    word, an entry would be acknowledged that is still wanted.
    """
    [document] = await _read(database, [sent], ReadConcern("majority"))
    return await _unless_doubtful(database, sent, document)


class Looks:
    """`look`, for many that are asked about at about the same time in one request."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading = Together(self._read)

    async def look(self, sent: Sent) -> tuple[Standing, Document]:
        return await _unless_doubtful(self._database, sent, await self._reading.ask(sent))

    async def surely(self, sent: Sent) -> Standing:
        """The same as the primary knows it, confirmed by a majority. Raises PyMongoError when that takes long."""
        [document] = await _read(self._database, [sent], ReadConcern("linearizable"))
        return _standing(sent, document)

    async def _read(self, sent: Sequence[Sent]) -> list[Document | None]:
        return await _read(self._database, sent, ReadConcern("majority"))


async def _unless_doubtful(database: Database, sent: Sent, document: Document | None) -> tuple[Standing, Document]:
    standing = _standing(sent, document)
    attempts = document.get("attempts") if document else None
    reached = isinstance(attempts, int) and attempts >= sent.attempt
    # What has not come to this attempt may be from before a replay, which a primary that is new does not show yet.
    if not reached and standing not in (Standing.WANTED, Standing.UNMARKED):
        [document] = await _read(database, [sent], ReadConcern("linearizable"))
        standing = _standing(sent, document)
    return standing, document or {}


async def _read(database: Database, sent: Sequence[Sent], read_concern: ReadConcern) -> list[Document | None]:
    messages = database[OUTBOX].with_options(codec_options=LENIENT, read_concern=read_concern)
    with pymongo.timeout(LOOK_SECONDS):
        # By the one id, where it is one: only so is a linearizable answer about one document.
        if len(sent) == 1:
            return [await messages.find_one({"_id": sent[0].id})]
        found = await messages.find({"_id": {"$in": [one.id for one in sent]}}).to_list()
    by_id = {document["_id"]: document for document in found}
    return [by_id.get(one.id) for one in sent]


def _standing(sent: Sent, document: Document | None) -> Standing:
    if document is None:
        return Standing.UNKNOWN
    match document.get("state"), document.get("attempts"):
        case State.PUBLISHED.value, sent.attempt:
            return Standing.WANTED
        case State.PENDING.value, attempts if attempts == sent.attempt - 1:
            return Standing.UNMARKED
        case State.COMPLETED.value, _:
            return Standing.COMPLETED
    return Standing.SUPERSEDED


@contextmanager
def refusals() -> Iterator[None]:
    """Raises Failed for what MongoDB has against a message itself, such as by a validator: it would refuse it for ever.

    What else it refuses, and is the fault of no message, is raised as it is.
    """
    try:
        yield
    except WriteError as error:
        if classify(error) is Trouble.OUTAGE:
            raise
        raise Failed(error) from error


async def complete(
    database: Database, stream: Stream, messages: Sequence[Message], session: AsyncClientSession | None
) -> None:
    """The last write of the handler's transaction; without a session, one by itself, after the handler's work.

    :raises Superseded: of one of them; then the transaction must be aborted.
    :raises Unsettled: a subject still waits, and nothing that was written would make it wait no longer.
    """
    if session is None:
        await _refuse_unsettled(database, stream, messages, None)
    if session is not None:
        done = await _update(database, [*_together(messages)], session)
    elif len(messages) == 1:
        done = (await database[OUTBOX].update_one(*transitions.complete(sent_of(messages[0])))).modified_count
    else:
        done = 0
        for together in _together(messages):
            done += (await database[OUTBOX].update_many(*together)).modified_count
    if done < len(messages):
        raise Superseded
    if session is not None:
        for update in uniques.touch(stream, messages):
            await database[UNIQUE].update_one(*update, session=session)
        await _refuse_unsettled(database, stream, messages, session)


async def _update(database: Database, updates: Sequence[transitions.Transition], session: AsyncClientSession) -> int:
    """How many messages have changed. As a command of its own, which takes half of the time that `update_one` takes."""
    many = [{"q": guard, "u": change, "multi": True} for guard, change in updates]
    reply: Document = await database.command("update", database[OUTBOX].name, updates=many, session=session)
    if errors := reply.get("writeErrors"):
        raise WriteError(str(errors[0].get("errmsg")), errors[0].get("code"), errors[0])
    return int(reply["nModified"])


async def _refuse_unsettled(
    database: Database, stream: Stream, messages: Sequence[Message], session: AsyncClientSession | None
) -> None:
    subject = stream.subject
    if subject is None:
        return
    documents, outbox = subjects.collection_of(database, subject), database[OUTBOX]
    waiting = subjects.any_waiting(subject, [message.naming for message in messages])
    if await documents.find_one(waiting, {"_id": 1}, session=session) is None:
        return
    if session is None:
        # What the handler has just written may not be a majority's yet: its client may ask for less than ours.
        surely = ReadConcern("linearizable")
        documents, outbox = documents.with_options(read_concern=surely), outbox.with_options(read_concern=surely)

    async def refuse(message: Message) -> None:
        if await documents.find_one(subjects.waiting(subject, message.naming), {"_id": 1}, session=session) is None:
            return
        others = subjects.others(subject, message.naming, message.id)
        if await outbox.find_one(others, {"_id": 1}, session=session) is None:
            raise _unsettled(stream, message)

    if session is None:
        await asyncio.gather(*map(refuse, messages))  # such a read takes as long as a write to the majority
        return
    for message in messages:
        await refuse(message)


def complete_sync(database: PlainDatabase, stream: Stream, messages: Sequence[Message], session: ClientSession) -> None:
    """`complete`, for a plain handler's transaction."""
    outbox = database[OUTBOX]
    done = sum(outbox.update_many(*together, session=session).modified_count for together in _together(messages))
    if done < len(messages):
        raise Superseded
    for update in uniques.touch(stream, messages):
        database[UNIQUE].update_one(*update, session=session)
    subject = stream.subject
    if subject is None:
        return
    documents = database.application[subject.collection].with_options(codec_options=LENIENT)
    for message in messages:
        if documents.find_one(subjects.waiting(subject, message.naming), {"_id": 1}, session=session) is None:
            continue
        others = subjects.others(subject, message.naming, message.id)
        if database[OUTBOX].find_one(others, {"_id": 1}, session=session) is None:
            raise _unsettled(stream, message)


def _together(messages: Sequence[Message]) -> list[transitions.Transition]:
    if len(messages) == 1:
        return [transitions.complete(sent_of(messages[0]))]
    return [transitions.complete_batch(ids, attempt) for attempt, ids in by_attempt(map(sent_of, messages)).items()]


class Completions:
    """Completes messages whose handlers used no transaction, those of about the same time in one request."""

    def __init__(self, database: Database, stream: Stream) -> None:
        self._database = database
        self._stream = stream
        self._completing = Together(self._complete)

    async def complete(self, message: Message) -> None:
        """Raises Superseded and Unsettled, as `complete` does, and Failed."""
        if error := await self._completing.ask(message):
            raise error

    async def _complete(self, messages: Sequence[Message]) -> list[Superseded | Unsettled | Failed | None]:
        with pymongo.timeout(COMPLETION_SECONDS):
            try:
                with refusals():
                    await complete(self._database, self._stream, messages, None)
            except (Superseded, Unsettled, Failed) as error:
                if len(messages) == 1:
                    return [error]
            else:
                return [None] * len(messages)
        return [await self._apart(message) for message in messages]

    async def _apart(self, message: Message) -> Superseded | Unsettled | Failed | None:
        """What became of one of several, some of which may have been completed by now."""
        standing, _ = await look(self._database, sent_of(message))
        if standing is Standing.COMPLETED:
            return None
        return (await self._complete([message]))[0]


def sent_of(message: Message) -> Sent:
    return Sent(message.id, message.attempt)


def _unsettled(stream: Stream, message: Message) -> Unsettled:
    subject = stream.subject
    assert subject
    return Unsettled(
        f"the handler returned and {subject.collection}.{subject.field} of {message.key} is still {subject.shown}: "
        "let it write the result through its session, append the next step's message, or raise"
    )

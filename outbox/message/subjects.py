"""Subjects: the documents that messages are about. Every way from a message to its subject, and back, is here.

A message that stores the `_id` of its subject is about that document. Of one that has its key alone, `_id` is read from
the key, by the type that the subject declares. Where none is declared, it is the document whose `_id` is the key as a
string or as an ObjectId, whichever there is; should there be both, nothing is decided until both say the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.message import pages
from outbox.message.document import State
from outbox.printable import printable
from outbox.servers import transaction
from outbox.servers.outages import Trouble, classify
from outbox.streams import identifiers
from outbox.streams.declaration import Stream, Streams, Subject
from outbox.streams.identifiers import same

log = structlog.get_logger(__name__)
T = TypeVar("T")

ON_THE_WAY = [State.SCHEDULED.value, State.PENDING.value, State.PUBLISHED.value]

NAMING = {"key": 1, "subject": 1}
"""The fields of a message that name its subject."""

Read = Callable[[Document], Awaitable[list[Document]]]
"""Reads the `_id` of the documents in the subject's collection that match a query."""


def ids_of(subject: Subject, message: Mapping[str, Any]) -> list[Any]:
    """The values that `_id` of the message's subject may have: none, if nothing in it can be one."""
    if "subject" in message:
        stored = message["subject"]
        return [stored["id"]] if _names_one(stored) else []
    key = message.get("key")
    if type(key) is not str:  # BSON's code is a kind of it, which no set can hold
        return []
    if subject.id_type is not None:
        try:
            return [identifiers.read(key, subject.id_type)]
        except ValueError:
            return []
    return [key, ObjectId(key)] if ObjectId.is_valid(key) else [key]


def _names_one(stored: object) -> bool:
    return isinstance(stored, Mapping) and "id" in stored and identifiers.acceptable(stored["id"])


def about(ids: Iterable[object], keys: Iterable[str] = ()) -> Document:
    """Matches messages about the documents with these ids: those that store one, or whose key is the text of one."""
    ids = list(ids)
    texts = {*map(identifiers.as_text, ids), *keys}
    return {
        "$or": [
            {"subject": {"$exists": True}, "subject.id": {"$in": ids}},
            {"subject": {"$exists": False}, "key": {"$in": sorted(texts)}},
        ]
    }


def about_the_same(subject: Subject, messages: Iterable[Mapping[str, Any]]) -> Document:
    """Matches these messages, and all others about their subjects."""
    messages = list(messages)
    keys = {key for m in messages if "subject" not in m and type(key := m.get("key")) is str}
    return about((id_ for message in messages for id_ in ids_of(subject, message)), keys)


def by_declaration(streams: Streams) -> dict[Subject, list[Stream]]:
    """The streams about each subject that is declared."""
    found: defaultdict[Subject, list[Stream]] = defaultdict(list)
    for stream in streams.values():
        if stream.subject:
            found[stream.subject].append(stream)
    return found


def collection_of(database: Database, subject: Subject) -> AsyncCollection[Document]:
    """Where the documents are, whose ids can all be read."""
    return database.application[subject.collection].with_options(codec_options=LENIENT)


def has_left(subject: Subject) -> Document:
    """What matches the field of a subject that is wanted no longer. One that is not there says nothing."""
    return {"$exists": True, "$nin": subject.values}


def waiting(subject: Subject, message: Mapping[str, Any]) -> Document:
    """Matches the message's subject while it still waits for a result."""
    return any_waiting(subject, [message])


def any_waiting(subject: Subject, messages: Iterable[Mapping[str, Any]]) -> Document:
    """Matches the subjects of these messages that still wait for a result."""
    ids = [id_ for message in messages for id_ in ids_of(subject, message)]
    return {"_id": {"$in": ids}, subject.field: {"$in": subject.values}}


def others(subject: Subject, message: Mapping[str, Any], id_: ObjectId) -> Document:
    """Matches messages on their way that are about the same subject: a reparse, or the next step of the work."""
    return {**about_the_same(subject, [message]), "_id": {"$ne": id_}, "state": {"$in": ON_THE_WAY}}


def reader(database: Database, subject: Subject, session: AsyncClientSession | None = None) -> Read:
    """Reads what there is now."""

    async def read(query: Document) -> list[Document]:
        return await collection_of(database, subject).find(query, {"_id": 1}, session=session).to_list()

    return read


async def that_left(read: Read, subject: Subject, messages: Sequence[Document]) -> set[Any]:
    """Of `messages`, the ids of those whose subject is there and is wanted no longer."""
    by_id = _by_id(subject, messages)
    if not by_id:
        return set()
    left = await _found(read, by_id, {subject.field: has_left(subject)})
    unsure = [m for m in messages if m["_id"] in left and len(ids_of(subject, m)) > 1]
    if unsure:
        left -= await _found(read, _by_id(subject, unsure), {subject.field: {"$in": subject.values}})
    return left


async def that_wait(read: Read, subject: Subject, messages: Sequence[Document]) -> set[Any]:
    """Of `messages`, the ids of those whose subject still waits for a result."""
    return await _found(read, _by_id(subject, messages), {subject.field: {"$in": subject.values}})


async def that_are_there(read: Read, subject: Subject, messages: Sequence[Document]) -> set[Any]:
    """Of `messages`, the ids of those whose subject can be found."""
    return await _found(read, _by_id(subject, messages), {})


_ById = Mapping[Hashable, tuple[Any, list[Any]]]
"""Ids of subjects, and of the messages about them."""


def _by_id(subject: Subject, messages: Iterable[Mapping[str, Any]]) -> _ById:
    found: dict[Hashable, tuple[Any, list[Any]]] = {}
    for message in messages:
        for id_ in ids_of(subject, message):
            found.setdefault(same(id_), (id_, []))[1].append(message["_id"])
    return found


async def _found(read: Read, by_id: _ById, condition: Document) -> set[Any]:
    documents = await read({"_id": {"$in": [id_ for id_, _ in by_id.values()]}, **condition}) if by_id else []
    return {m for document in documents for m in by_id.get(same(document["_id"]), (None, []))[1]}


async def find(database: Database, subject: Subject, message: Mapping[str, Any]) -> Document | None:
    """The message's subject, without its large values if it is large. None: not found, or not known which of two."""
    query = {"_id": {"$in": ids_of(subject, message)}}
    found, more = await pages.read(collection_of(database, subject), query, limit=1)
    return found[0] if found and not more else None


def by_subject(
    subject: Subject, messages: Iterable[Document], ids: Collection[Any]
) -> Mapping[Hashable, list[Document]]:
    """The messages about each of these documents, by `identifiers.same`."""
    known = {same(id_) for id_ in ids}
    by_text: defaultdict[str, list[Hashable]] = defaultdict(list)
    for id_ in ids:
        by_text[identifiers.as_text(id_)].append(same(id_))
    found: defaultdict[Hashable, list[Document]] = defaultdict(list)
    for message in messages:
        named = {same(id_) for id_ in ids_of(subject, message)}
        if "subject" not in message and type(message.get("key")) is str:
            named |= set(by_text[message["key"]])  # of an undeclared type: it may be about it
        for name in named & known:
            found[name].append(message)
    return found


class Refused(Exception):
    """The subject's collection does not take what a failure or a retry writes: its validator, an index, a right."""


async def change(
    database: Database, subject: Subject, query: Document, values: Document, session: AsyncClientSession
) -> None:
    """In a transaction: set fields of the subject that matches `query`. Not, if there are two. Raises Refused."""
    update: Document = {"$set": values}
    if subject.is_file:
        update |= {"$inc": {"version": 1}, "$currentDate": {"updated_at": True}}
    documents = collection_of(database, subject)
    try:
        if len(query["_id"]["$in"]) > 1 and len(await documents.find(query, {"_id": 1}, session=session).to_list()) > 1:
            return
        await documents.update_one(query, update, session=session)
    except OperationFailure as error:
        if classify(error) is Trouble.OUTAGE:
            raise
        raise Refused(f"{subject.collection}: {printable(str(error))[:500]}") from error


async def fail(
    database: Database,
    subject: Subject | None,
    message: Mapping[str, Any],
    id_: ObjectId,
    error: str,
    session: AsyncClientSession,
) -> None:
    """In a transaction that ends the message: its subject gets what a failure writes, unless another message about it
    is on its way. Raises Refused."""
    if subject is None or not subject.failure:
        return
    if await database[OUTBOX].find_one(others(subject, message, id_), {"_id": 1}, session=session):
        return
    await change(database, subject, waiting(subject, message), subject.failed(error), session)


async def want_again(
    database: Database, subject: Subject, message: Mapping[str, Any], session: AsyncClientSession
) -> None:
    """In a transaction: undo what a failure wrote into the subject's field. Raises Refused."""
    if subject.ended is None:
        return
    ended = {"_id": {"$in": ids_of(subject, message)}, subject.field: subject.ended}
    await change(database, subject, ended, {subject.field: subject.values[0]}, session)


async def run(
    database: Database,
    body: Callable[[AsyncClientSession, bool], Awaitable[T]],
    *,
    happened: Callable[[], Awaitable[bool]],
    seconds: float = 20.0,
) -> T:
    """One transaction in which a message and its subject change: `body(session, True)`.

    If the subject's collection refuses its change, `body(session, False)`, which leaves the subject as it is: what
    becomes of a message is not for another application's validator to decide.

    :raises CommitUnknown: may have happened.
    """
    try:
        return await transaction.run(database.client, partial(_with, body, True), happened=happened, seconds=seconds)
    except Refused as refused:
        log.warning("subject change refused", collection=str(refused))
    return await transaction.run(database.client, partial(_with, body, False), happened=happened, seconds=seconds)


async def _with(
    body: Callable[[AsyncClientSession, bool], Awaitable[T]], change_subject: bool, session: AsyncClientSession
) -> T:
    return await body(session, change_subject)

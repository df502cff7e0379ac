"""Messages about nothing: their document was deleted meanwhile. Where that is not certain, they stay as they are."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any

from bson import Binary, ObjectId
from bson.binary import UuidRepresentation

from outbox.database import OUTBOX, Document
from outbox.draft import named_by_key
from outbox.errors import InvalidMessage, NoSuchMessage, NotDead
from outbox.message import subject_check
from outbox.message.document import State
from outbox.message.subjects import NAMING, collection_of, ids_of
from outbox.message.unnamed import types_without_key
from outbox.operations import dead
from outbox.operations.verify.findings import KEPT, Finding, System, named, number
from outbox.operations.verify.unsent import complete_unsent
from outbox.protocol.settled import without_subject
from outbox.servers.paging import in_pages
from outbox.streams.declaration import Stream, Subject
from outbox.streams.identifiers import readings

PAGE = 500

_NOT_SENT = [State.PENDING.value, State.SCHEDULED.value]


async def messages_have_a_subject(system: System) -> list[Finding]:
    """Of those that are not sent yet, or dead."""
    findings = []
    if unsent := await _about_nothing(system, _NOT_SENT):
        findings.append(_of_nothing(system, unsent))
    if buried := await _about_nothing(system, [State.DEAD.value]):
        findings.append(_dead_of_nothing(system, buried))
    return findings


async def _about_nothing(
    system: System, states: Sequence[str], ids: Sequence[ObjectId] | None = None
) -> list[ObjectId]:
    """Messages in these states whose subject is not there, of those with these `ids`; or of all, up to KEPT."""
    found: list[ObjectId] = []
    async for page in _pages_about_nothing(system, states, ids):
        found += page
        if ids is None and len(found) >= KEPT:
            return found[:KEPT]
    return found


async def _pages_about_nothing(
    system: System, states: Sequence[str], ids: Sequence[ObjectId] | None = None
) -> AsyncIterator[list[ObjectId]]:
    """The same, all of them in flat memory. One walk: what stays as it is does not come twice."""
    among = {} if ids is None else {"_id": {"$in": list(ids)}}
    for stream in system.streams.values():
        if stream.subject is None:
            continue
        there = await subject_check.sample(system.database, stream.subject)
        if not there.documents or not (there.with_field or None in stream.subject.values):
            continue  # it is another collection, or in another database, that the messages are about
        types = await types_without_key(system.database, stream.subject)
        if types is None:
            continue
        query = {
            "state": {"$in": states}, "stream": stream.name, "created_at": {"$not": {"$gte": system.settled}}, **among,
        }  # fmt: skip
        messages = system.database[OUTBOX].find(query, {"_id": 1, **NAMING}, batch_size=PAGE)
        async for page in in_pages(messages, PAGE):
            # What no key names may be there all the same. The check of declarations says so.
            judged = [each for each in page if not (types and _named_by_its_key(stream, each))]
            if gone := await _gone(system, stream, stream.subject, judged):
                yield gone


def _named_by_its_key(stream: Stream, message: Document) -> bool:
    """Whether nothing but the key says what the message is about: also where `append` has read the key, and stored
    that."""
    if "subject" not in message:
        return True
    try:
        return bool(message["subject"] == named_by_key(stream, str(message.get("key"))))
    except InvalidMessage:
        return False


async def _gone(system: System, stream: Stream, subject: Subject, page: list[Document]) -> list[ObjectId]:
    """Of these messages, those about which there is no document, also of another type that its id could be read as."""
    page = [each for each in page if ids_of(subject, each)]  # what names none, is not about something that is gone
    missing = await without_subject(system.database, subject, page)
    asked = {each["_id"]: _all_readings(stream, subject, each) for each in page if each["_id"] in missing}

    async def is_there(ids: Iterable[Any]) -> bool:
        query = {"_id": {"$in": list(ids)}}
        return await collection_of(system.database, subject).find_one(query, {"_id": 1}) is not None

    if not asked or not await is_there(id_ for ids in asked.values() for id_ in ids):
        return list(asked)
    return [message for message, ids in asked.items() if not await is_there(ids)]


def _all_readings(stream: Stream, subject: Subject, message: Document) -> list[Any]:
    """All that the `_id` may be of what the message is about."""
    ids = ids_of(subject, message)
    if _named_by_its_key(stream, message):
        ids = [*ids, *readings(str(message.get("key")))]
    return [other for id_ in ids for other in _alike(id_)]


def _alike(id_: Any) -> list[Any]:
    """The id as other programs may have stored it: UUIDs in the ways of older drivers, text in other normal forms."""
    if isinstance(id_, Binary) and id_.subtype in (3, 4) and len(id_) == 16:
        ways = (UuidRepresentation.PYTHON_LEGACY, UuidRepresentation.JAVA_LEGACY, UuidRepresentation.CSHARP_LEGACY)
        ids = [Binary(id_, 4).as_uuid()] if id_.subtype == 4 else [id_.as_uuid(way) for way in ways]
        return [id_, *(Binary.from_uuid(one, way) for one in ids for way in (UuidRepresentation.STANDARD, *ways))]
    if isinstance(id_, str):
        return [id_, unicodedata.normalize("NFC", id_), unicodedata.normalize("NFD", id_)]
    return [id_]


async def _and_the_rest(system: System, states: Sequence[str], found: list[ObjectId]) -> AsyncIterator[list[ObjectId]]:
    """What was found; and where a finding keeps no more in mind, all that there is beyond it."""
    yield found
    if len(found) >= KEPT:
        async for page in _pages_about_nothing(system, states):
            yield page


def _of_nothing(system: System, found: list[ObjectId]) -> Finding:
    async def complete() -> int:
        done = 0
        async for ids in _and_the_rest(system, _NOT_SENT, found):
            # Looked at again: the documents may be back, as when a backup is restored.
            still = await _about_nothing(system, _NOT_SENT, ids)
            done += await complete_unsent(system, still)
        return done

    return Finding(
        "message-without-file",
        f"{number(len(found), 'message waits', 'messages wait')} to be sent about a document that is not there",
        "the document was deleted meanwhile. A worker will be told of it, and should acknowledge and go on",
        "outbox verify --repair, which completes it unsent", len(found), named(found), complete,
    )  # fmt: skip


def _dead_of_nothing(system: System, found: list[ObjectId]) -> Finding:
    async def discard() -> int:
        done = 0
        async for ids in _and_the_rest(system, [State.DEAD.value], found):
            still = await _about_nothing(system, [State.DEAD.value], ids)  # looked at again, likewise
            for id_ in still:
                with suppress(NoSuchMessage, NotDead):  # another operator was faster, and the others are left to do
                    await dead.discard(system.database, system.streams, id_)
                    done += 1
        return done

    return Finding(
        "dead-without-file",
        f"{number(len(found), 'dead message is', 'dead messages are')} about a document that is gone",
        "there is nothing to retry it for",
        f"outbox dead discard {found[0]}", len(found), named(found), discard,
    )  # fmt: skip

"""Files and messages: each that waits has the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from outbox.append import Outbox
from outbox.message import transitions
from outbox.message.document import State
from outbox.message.schema import FILES, OUTBOX, Document
from outbox.message.subjects import key_of, subject_id
from outbox.operations import audit, dead, replay
from outbox.operations.verify.findings import KEPT, Finding, System, named, number
from outbox.servers import transaction
from outbox.streams.declaration import FILE_STREAM, Stream, Subject
from outbox_api.uploads.reparse import MAX_TOLD, reparse

PAGE = 500
_OPEN = [State.SCHEDULED.value, State.PENDING.value, State.PUBLISHED.value, State.DEAD.value]
_NOT_SENT = [State.PENDING.value, State.SCHEDULED.value]


async def subjects_wait_for_a_message(system: System) -> list[Finding]:
    findings = []
    for subject, streams in _by_subject(system).items():
        untold: list[Any] = []
        unsettled: list[Any] = []
        waiting = {subject.field: subject.wanted, "updated_at": {"$not": {"$gte": system.settled}}}
        async for page in _pages(system.database.application[subject.collection], waiting):
            nothing, completed = await _without_open(system, [each["_id"] for each in page], streams)
            # Read after the messages: a worker that completes one settles the file with it, or before.
            still = await _still_wait(system, subject, (nothing | completed).values())
            untold += [id_ for key, id_ in sorted(nothing.items()) if key in still]
            unsettled += [id_ for key, id_ in sorted(completed.items()) if key in still]
            if len(untold) >= KEPT or len(unsettled) >= KEPT:
                break
        if untold:
            findings.append(_untold(system, subject, untold[:KEPT]))
        if unsettled:
            ids = unsettled[:KEPT]
            findings.append(_unsettled(system, subject, ids, await _last_messages(system, streams, ids)))
    return findings


def _untold(system: System, subject: Subject, ids: list[Any]) -> Finding:
    async def enqueue() -> int:
        outbox = Outbox(system.streams, database=system.database.name, prefix=system.database.place.prefix)
        for start in range(0, len(ids), 100):
            await reparse(system.database, outbox, ids[start : start + 100], who=audit.me())
        return len(ids)

    files = subject.collection == FILES
    return Finding(
        "file-without-message",
        f"{number(len(ids), f'document of {subject.collection} is', f'documents of {subject.collection} are')} "
        f"{subject.wanted!r}, and no message tells of it",
        "no worker will ever hear of it: it was set by hand or by a program that does not append, or its message was "
        "deleted",
        f"outbox enqueue {ids[0]}" if files else "append a message for each, in the program that owns them",
        len(ids), named(ids), enqueue if files and FILE_STREAM in system.streams else None,
    )  # fmt: skip


async def _last_messages(system: System, streams: list[Stream], ids: list[Any]) -> list[ObjectId]:
    """Of each document, its last message: an older one would let the work be done once more."""
    found = []
    for id_ in ids:
        query = {"key": str(id_), "stream": {"$in": [stream.name for stream in streams]}}
        message = await system.database[OUTBOX].find_one(query, {"_id": 1}, sort=[("position", -1)])
        found += [message["_id"]] if message else []
    return found


def _unsettled(system: System, subject: Subject, ids: list[Any], last: list[ObjectId]) -> Finding:
    async def again() -> int:
        return sum([await replay.one(system.database, message, who=audit.me()) for message in last])

    return Finding(
        "completed-but-waiting",
        f"{number(len(ids), f'document of {subject.collection} is', f'documents of {subject.collection} are')} "
        f"{subject.wanted!r}, although its messages are completed",
        "a worker completed the message and left the document as it was, or it was set back by hand: nothing will come",
        f"outbox replay --id {last[0] if last else 'MESSAGE'}", len(ids), named(ids), again,
    )  # fmt: skip


async def messages_have_a_subject(system: System) -> list[Finding]:
    """Of those that are not sent yet, or dead."""
    unsent: list[ObjectId] = []
    buried: list[ObjectId] = []
    for stream in system.streams.values():
        if stream.subject is None:
            continue
        for states, found in ((_NOT_SENT, unsent), ([State.DEAD.value], buried)):
            query = {"state": {"$in": states}, "stream": stream.name, "created_at": {"$not": {"$gte": system.settled}}}
            async for page in _pages(system.database[OUTBOX], query, key=1):
                there = await _there(system, stream.subject, [key_of(each) for each in page])
                found += [each["_id"] for each in page if str(subject_id(key_of(each))) not in there]
                if len(found) >= KEPT:
                    break
    findings = []
    if unsent:
        findings.append(_of_nothing(system, unsent[:KEPT]))
    if buried:
        findings.append(_dead_of_nothing(system, buried[:KEPT]))
    return findings


def _of_nothing(system: System, ids: list[ObjectId]) -> Finding:
    messages = system.database[OUTBOX]

    async def body(session: AsyncClientSession) -> int:
        result = await messages.update_many(*transitions.complete_unsent(ids), session=session)
        told = {"messages": ids[:MAX_TOLD]}
        await audit.record(
            system.database, who=audit.me(), action="complete unsent", count=result.modified_count, details=told,
            session=session,
        )  # fmt: skip
        return result.modified_count

    async def happened() -> bool:
        # A write first: it waits for a transaction that is still under way on this message.
        found = await messages.find_one_and_update({"_id": ids[0]}, {"$currentDate": {"asked_at": True}})
        return found is not None and found.get("state") == State.COMPLETED.value

    async def complete() -> int:
        return await transaction.run(system.database.client, body, happened=happened)

    return Finding(
        "message-without-file",
        f"{number(len(ids), 'message waits', 'messages wait')} to be sent about a document that is not there",
        "the document was deleted meanwhile. A worker will be told of it, and should acknowledge and go on",
        "outbox verify --repair, which completes it unsent", len(ids), named(ids), complete,
    )  # fmt: skip


def _dead_of_nothing(system: System, ids: list[ObjectId]) -> Finding:
    async def discard() -> int:
        for id_ in ids:
            await dead.discard(system.database, system.streams, id_)
        return len(ids)

    return Finding(
        "dead-without-file",
        f"{number(len(ids), 'dead message is', 'dead messages are')} about a document that is gone",
        "there is nothing to retry it for",
        f"outbox dead discard {ids[0]}", len(ids), named(ids), discard,
    )  # fmt: skip


async def dead_keep_nobody_waiting(system: System) -> list[Finding]:
    waiting: list[ObjectId] = []
    for stream in system.streams.values():
        if stream.subject is None:
            continue
        query = {"state": State.DEAD.value, "stream": stream.name, "died_at": {"$not": {"$gte": system.settled}}}
        async for page in _pages(system.database[OUTBOX], query, key=1):
            still = await _still_wait(system, stream.subject, [subject_id(key_of(each)) for each in page])
            suspects = [each["_id"] for each in page if str(subject_id(key_of(each))) in still]
            # Looked at again: it may just have been retried, and so its file was queued.
            dead_still = {"_id": {"$in": suspects}, "state": State.DEAD.value}
            waiting += [each["_id"] async for each in system.database[OUTBOX].find(dead_still, {"_id": 1})]
            if len(waiting) >= KEPT:
                break
    if not waiting:
        return []
    return [
        Finding(
            "dead-but-queued", f"{number(len(waiting), 'dead message keeps', 'dead messages keep')} a document waiting",
            "whoever uploaded it sees it queued for ever",
            f"outbox dead retry {waiting[0]}, or `outbox dead discard {waiting[0]}`, which ends it in an error",
            len(waiting), named(waiting),
        )
    ]  # fmt: skip


def _by_subject(system: System) -> dict[Subject, list[Stream]]:
    found: defaultdict[Subject, list[Stream]] = defaultdict(list)
    for stream in system.streams.values():
        if stream.subject:
            found[stream.subject].append(stream)
    return found


async def _pages(
    collection: AsyncCollection[Document], query: Document, **fields: int
) -> AsyncIterator[list[Document]]:
    """All that match, in flat memory."""
    page: list[Document] = []
    async for document in collection.find(query, {"_id": 1, **fields}, batch_size=PAGE):
        page.append(document)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


async def _without_open(
    system: System, ids: Sequence[Any], streams: list[Stream]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of these subjects, those without any message, and those whose messages are all completed; by their keys."""
    by_key = {str(id_): id_ for id_ in ids}
    states: defaultdict[str, set[str]] = defaultdict(set)
    query = {"key": {"$in": list(by_key)}, "stream": {"$in": [stream.name for stream in streams]}}
    async for message in system.database[OUTBOX].find(query, {"_id": 0, "key": 1, "state": 1}):
        states[key_of(message)].add(str(message.get("state")))
    nothing = {key: id_ for key, id_ in by_key.items() if key not in states}
    completed = {key: id_ for key, id_ in by_key.items() if key in states and not states[key] & set(_OPEN)}
    return nothing, completed


async def _still_wait(system: System, subject: Subject, ids: Iterable[Any]) -> set[str]:
    query = {"_id": {"$in": list(ids)}, subject.field: subject.wanted}
    return {str(each["_id"]) async for each in system.database.application[subject.collection].find(query, {"_id": 1})}


async def _there(system: System, subject: Subject, keys: Sequence[str]) -> set[str]:
    query = {"_id": {"$in": [subject_id(key) for key in keys]}}
    return {str(each["_id"]) async for each in system.database.application[subject.collection].find(query, {"_id": 1})}

"""Subjects and messages: each that waits has the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import suppress
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from outbox.append import Outbox
from outbox.database import Document
from outbox.delivery.foreign import waiting_keys
from outbox.errors import FilesError, InvalidMessage, NoSuchRecord
from outbox.message import subject_check
from outbox.message.document import State
from outbox.message.subjects import by_declaration, collection_of, ids_of, reader
from outbox.message.summaries import summaries
from outbox.operations import applications, audit, replay
from outbox.operations.verify.entries import SEARCHED
from outbox.operations.verify.findings import KEPT, Finding, System, named, number
from outbox.servers.outages import Trouble, classify
from outbox.servers.paging import in_pages
from outbox.streams.declaration import FILE_STREAM, Stream, Subject
from outbox.streams.identifiers import as_text, same
from outbox_api.uploads.reparse import reparse

PAGE = 500
QUEUED_TOGETHER = 100
"""Files in one transaction."""
NO_RIGHTS = (13, 18, 8000)
"""Unauthorized, AuthenticationFailed, AtlasError."""
REPAIRED = 1000
"""For so many, at most, one reading of the streams holds. What others add while they are repaired is missed."""


async def subjects_wait_for_a_message(system: System) -> list[Finding]:
    findings = []
    for subject, streams in by_declaration(system.streams).items():
        nothing: list[Any] = []
        unsettled: list[Any] = []
        async for without, completed in _forgotten(system, subject, streams, PAGE):
            nothing += without
            unsettled += completed
            if len(nothing) >= KEPT or len(unsettled) >= KEPT:
                break
        if nothing:
            ours = subject.is_file and FILE_STREAM in system.streams and await applications.has_files(system.database)
            findings.append(_without_message(system, subject, streams, nothing[:KEPT], ours=ours))
        if unsettled:
            ids = unsettled[:KEPT]
            last = await _last_messages(system, subject, streams, ids[:1])
            findings.append(_unsettled(system, subject, streams, ids, next(iter(last), "MESSAGE")))
    return findings


async def _forgotten(
    system: System, subject: Subject, streams: list[Stream], together: int, most: int = SEARCHED
) -> AsyncIterator[tuple[list[Any], list[Any]]]:
    """Documents that wait and that no worker will hear of: those without a message, and those whose messages are
    completed. Of up to `together` at a time, just looked at.

    :param most: for how many the streams are read through at once.
    """
    async for suspects in _suspects(system, subject, streams, most):
        # Whoever writes a document and adds an entry by itself may be between the two.
        await system.look_again()
        silent = await _without_entry(system, subject, streams, suspects)
        for start in range(0, len(silent), together):
            # After the streams: a worker that makes a message of an entry does so before the entry is gone.
            yield await _look(system, subject, streams, silent[start : start + together])


async def _suspects(system: System, subject: Subject, streams: list[Stream], most: int) -> AsyncIterator[list[Any]]:
    """Documents that wait and have no open message, many at once: for each such part the streams are read through."""
    waiting = {
        subject.field: {"$in": subject.values},
        **({"updated_at": {"$not": {"$gte": system.settled}}} if subject.field != "updated_at" else {}),
    }
    suspects: list[Any] = []
    async for page in _pages(collection_of(system.database, subject), waiting):
        without, completed = await _look(system, subject, streams, [each["_id"] for each in page])
        suspects += without + completed
        if len(suspects) >= most:
            yield suspects
            suspects = []
    if suspects:
        yield suspects


async def _look(
    system: System,
    subject: Subject,
    streams: list[Stream],
    ids: Sequence[Any],
    session: AsyncClientSession | None = None,
) -> tuple[list[Any], list[Any]]:
    """Of these documents, those that wait without any message, and those that wait after all theirs are completed."""
    without, completed = await _without_open(system, subject, ids, streams, session)
    # Read after the messages: a worker that completes one settles the subject with it, or before.
    still = await _still_wait(system, subject, without + completed, session) if without or completed else set()
    return [id_ for id_ in without if same(id_) in still], [id_ for id_ in completed if same(id_) in still]


async def _without_entry(system: System, subject: Subject, streams: list[Stream], ids: Sequence[Any]) -> list[Any]:
    """Those about which no entry of another program waits in the streams, or is in a worker's hands."""
    asked = {as_text(id_) for id_ in ids}
    found: set[str] = set()
    for stream in streams:
        async for key in waiting_keys(system.redis, stream):
            found |= asked & {key, *map(as_text, ids_of(subject, {"key": key}))}
    return [id_ for id_ in ids if as_text(id_) not in found]


def _without_message(system: System, subject: Subject, streams: list[Stream], ids: list[Any], *, ours: bool) -> Finding:
    """`ours`: files of the files application of this outbox. Another outbox may have messages about all others."""

    async def still(wanted: Sequence[Any], session: AsyncClientSession) -> Sequence[Any]:
        # In the transaction, which writes these documents: of two repairs at once, the second one sees the message.
        without, _ = await _look(system, subject, streams, wanted, session)
        return without

    async def enqueue() -> int:
        outbox = Outbox(system.streams, database=system.database.name, prefix=system.database.place.prefix)
        refused: list[Exception] = []

        async def queue(wanted: Sequence[Any]) -> int:
            try:
                return len(await reparse(system.database, outbox, wanted, who=audit.me(), still=still))
            except (InvalidMessage, FilesError, NoSuchRecord, OperationFailure) as error:
                if _is_of_all(error) or len(refused) >= REPAIRED:
                    raise
                if len(wanted) == 1:
                    refused.append(error)
                    return 0
            # Each by itself: what one cannot be queued by, keeps no others.
            return sum([await queue([one]) for one in wanted])

        done = 0
        # Looked at again: somebody else may have done it since they were found. And all of them, however many.
        async for wanted, _ in _forgotten(system, subject, streams, QUEUED_TOGETHER, REPAIRED):
            if wanted:
                done += await queue(wanted)
        if refused and not done:
            raise refused[0]
        return done

    mend = "append a message for each, in the program that owns them"
    if subject.is_file and not ours:
        mend += f"; if that is the API of this outbox: {applications.SET_UP}"
    return Finding(
        "file-without-message",
        f"{number(len(ids), f'document of {subject.collection} is', f'documents of {subject.collection} are')} "
        f"{subject.shown}, and no message is about it",
        "no worker will ever hear of it: it was set by hand or by a program that does not append, or its message was "
        "deleted",
        f"outbox enqueue {ids[0]}" if ours else mend, len(ids), named(ids), enqueue if ours else None,
    )  # fmt: skip


def _is_of_all(error: Exception) -> bool:
    """Whether MongoDB would refuse each other file for the same reason: it is away, or the user lacks a right."""
    return isinstance(error, OperationFailure) and (classify(error) is Trouble.OUTAGE or error.code in NO_RIGHTS)


async def _last_messages(system: System, subject: Subject, streams: list[Stream], ids: list[Any]) -> list[ObjectId]:
    """Of each document, its last message: an older one would let the work be done once more."""
    found = await summaries(system.database, subject, ids, [stream.name for stream in streams])
    return [found[same(id_)].last for id_ in ids if same(id_) in found]


def _unsettled(system: System, subject: Subject, streams: list[Stream], ids: list[Any], last: object) -> Finding:
    async def again() -> int:
        done = 0
        # Looked at again, each by itself: it may have been settled, or have got a message that is on its way.
        async for _, completed in _forgotten(system, subject, streams, 1, REPAIRED):
            for message in await _last_messages(system, subject, streams, completed):
                with suppress(InvalidMessage):  # too large to be changed; it is found again
                    done += await replay.one(system.database, message, who=audit.me(), states=(State.COMPLETED,))
        return done

    return Finding(
        "completed-but-waiting",
        f"{number(len(ids), f'document of {subject.collection} is', f'documents of {subject.collection} are')} "
        f"{subject.shown}, although its messages are completed",
        "a worker completed the message and left the document as it was, or it was set back by hand: nothing will come",
        f"outbox replay --id {last}", len(ids), named(ids), again,
    )  # fmt: skip


async def subjects_are_as_declared(system: System) -> list[Finding]:
    lines = await subject_check.differences(system.database, system.streams)
    return [
        Finding(
            "subject", line,
            "whether a message is still wanted cannot be seen: after a loss, all that is not completed comes again",
            "correct the subject in OUTBOX_STREAMS, and start relays and workers again",
        )
        for line in lines
    ]  # fmt: skip


def _pages(collection: AsyncCollection[Document], query: Document, **fields: int) -> AsyncIterator[list[Document]]:
    """All that match, in flat memory."""
    return in_pages(collection.find(query, {"_id": 1, **fields}, batch_size=PAGE), PAGE)


async def _without_open(
    system: System,
    subject: Subject,
    ids: Sequence[Any],
    streams: list[Stream],
    session: AsyncClientSession | None,
) -> tuple[list[Any], list[Any]]:
    """Of these subjects, those without any message, and those whose messages are all completed."""
    found = await summaries(system.database, subject, ids, [stream.name for stream in streams], session)
    nothing = [id_ for id_ in ids if same(id_) not in found]
    completed = [id_ for id_ in ids if same(id_) in found and not found[same(id_)].is_open]
    return nothing, completed


async def _still_wait(
    system: System, subject: Subject, ids: Sequence[Any], session: AsyncClientSession | None
) -> set[Hashable]:
    query = {"_id": {"$in": list(ids)}, subject.field: {"$in": subject.values}}
    return {same(each["_id"]) for each in await reader(system.database, subject, session)(query)}

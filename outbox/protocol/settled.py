"""Settled: whether what a message asks for has been dealt with. Every reader of that asks here.

A message is settled when its subject has left the wanted values since the message was committed. That the subject is
wanted again, because of a newer message, does not change that. A subject that cannot be found, or has no such field,
says nothing: a message that somebody may still wait for is rather published twice than lost.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

from bson import Timestamp
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.message import subjects, transitions
from outbox.message.document import is_ours
from outbox.message.poison import FULL
from outbox.streams.declaration import Streams, Subject
from outbox.streams.identifiers import same

NEEDED = {**subjects.NAMING, "position": 1, "retried": 1}
"""The fields of a message that `settled` looks at."""

MOMENTS = 1000
"""Moments of the past that are looked at for one page of messages, at most, the latest first."""
TOGETHER = 20
MOMENT_SECONDS = 2.0


async def settled(
    database: Database,
    subject: Subject | None,
    messages: Sequence[Document],
    session: AsyncClientSession | None = None,
) -> set[Any]:
    """Of `messages`, as far as NEEDED, the ids of those that are settled. Without a subject: none.

    Where the subject is wanted now, and there are newer messages about it, MongoDB is asked what the subject was just
    before each of them. It remembers some minutes (`minSnapshotHistoryWindowInSeconds`, 300 by default); a message
    about which it does not remember enough counts as not settled.
    """
    messages = [message for message in messages if is_ours(message)]
    if subject is None or not messages:
        return set()
    done = await subjects.that_left(subjects.reader(database, subject, session), subject, messages)
    return done | await _settled_before(database, subject, [m for m in messages if m["_id"] not in done], session)


async def without_subject(database: Database, subject: Subject, messages: Sequence[Document]) -> set[Any]:
    """Of `messages`, the ids of those whose subject cannot be found: it was deleted, or they name none."""
    there = await subjects.that_are_there(subjects.reader(database, subject), subject, messages)
    return {message["_id"] for message in messages} - there


async def complete_settled(
    database: Database, streams: Streams, collection: str, ids: Iterable[object], session: AsyncClientSession
) -> None:
    """In a transaction that makes the documents of `ids` wanted again, before it does so: what was published about
    them, and is settled by now, becomes completed. Afterwards, only MongoDB's memory would tell."""
    named = [{"_id": number, "subject": {"id": id_}} for number, id_ in enumerate(ids)]
    for subject, of_subject in subjects.by_declaration(streams).items():
        if subject.collection != collection:
            continue
        left = await subjects.that_left(subjects.reader(database, subject, session), subject, named)
        if left:
            about = subjects.about(named[number]["subject"]["id"] for number in left)
            names = [stream.name for stream in of_subject]
            guard, change = transitions.complete_superseded(about, names)
            # One that has no room for it would have the rest of the transaction fail, for an older message's sake.
            await database[OUTBOX].update_many({**guard, "$expr": {"$not": [FULL]}}, change, session=session)


async def _settled_before(
    database: Database, subject: Subject, messages: Sequence[Document], session: AsyncClientSession | None
) -> set[Any]:
    """Those that were settled, and whose subject is wanted again because of a newer message."""
    older: defaultdict[Hashable, list[Document]] = defaultdict(list)
    ids: list[Any] = []
    for message in messages:
        if isinstance(message.get("position"), Timestamp):
            for id_ in subjects.ids_of(subject, message):
                older[same(id_)].append(message)
                ids.append(id_)
    if not older:
        return set()
    first = min(message["position"] for about in older.values() for message in about)
    newer = (
        database[OUTBOX]
        .with_options(codec_options=LENIENT)
        .find({**subjects.about_the_same(subject, messages), "position": {"$gt": first}}, NEEDED, session=session)
    )
    found = await newer.sort("position", -1).limit(MOMENTS).to_list()
    done: set[Any] = set()
    moments = list(_moments(subject, found, ids).items())
    for start in range(0, len(moments), TOGETHER):
        asked = []
        for moment, names in moments[start : start + TOGETHER]:
            suspects = [m for name in names for m in older[name] if m["position"] < moment and m["_id"] not in done]
            if suspects:
                asked.append(_settled_at(database, subject, suspects, moment))
        try:
            for settled_then in await asyncio.gather(*asked):
                done |= settled_then
        except _Forgotten:
            break  # and so is all that was before
    return done


def _moments(subject: Subject, newer: Sequence[Document], ids: Collection[Any]) -> Mapping[Timestamp, set[Hashable]]:
    """When to look at which of these subjects, the latest moment first.

    A message's position is given when it is inserted, and so before its transaction commits: at that moment the subject
    is as it was before. What was appended together has positions that follow each other: nothing else has happened
    between them, and so they are one moment.
    """
    at: defaultdict[Timestamp, set[Hashable]] = defaultdict(set)
    for name, messages in subjects.by_subject(subject, newer, ids).items():
        for message in messages:
            if isinstance(message["position"], Timestamp):  # to MongoDB, a list equals whatever is in it
                at[message["position"]].add(name)
    moments: dict[Timestamp, set[Hashable]] = {}
    moment: Timestamp | None = None
    for position in sorted(at, reverse=True):
        names = at[position]
        if moment and (position.time, position.inc + 1) == (moment.time, moment.inc):
            names |= moments.pop(moment)
        moments[position], moment = names, position
    return moments


async def _settled_at(
    database: Database, subject: Subject, messages: Sequence[Document], moment: Timestamp
) -> set[Any]:
    """Of `messages`, those that were committed at `moment`, and whose subject was there then, with another value.

    Not those that an operator has retried since: that has made the subject wanted for them.
    """

    async def read(query: Document) -> list[Document]:
        return await _at(subjects.collection_of(database, subject), moment, query, {"_id": 1})

    left, there = await asyncio.gather(
        subjects.that_left(read, subject, messages),
        _at(database[OUTBOX], moment, {"_id": {"$in": [m["_id"] for m in messages]}}, {"retried": 1}),
    )
    retried = {document["_id"]: document.get("retried") for document in there}
    return {
        m["_id"] for m in messages
        if m["_id"] in left and m["_id"] in retried and m.get("retried") == retried[m["_id"]]
    }  # fmt: skip


async def _at(
    documents: AsyncCollection[Document], moment: Timestamp, query: Document, fields: Document
) -> list[Document]:
    """What there was at `moment`, by what a majority has. Raises _Forgotten."""
    try:
        cursor = await documents.database.with_options(codec_options=LENIENT).cursor_command(
            {
                "find": documents.name, "filter": query, "projection": fields,
                "readConcern": {"level": "snapshot", "atClusterTime": moment},
                "maxTimeMS": int(MOMENT_SECONDS * 1000),
            },
            codec_options=LENIENT,
        )  # fmt: skip
        found: list[Document] = await cursor.to_list()
    except OperationFailure as error:
        raise _Forgotten from error
    return found


class _Forgotten(Exception):
    """MongoDB does not remember, or will not tell, what was at a moment of the past."""

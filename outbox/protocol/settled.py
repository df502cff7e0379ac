"""Settled: whether what a message asks for has been dealt with. Every reader of that asks here.

A message is settled when its subject has left the wanted value since the message was committed. That the subject is
wanted again, because of a newer message, does not change that. A subject that cannot be found says nothing: a message
that somebody may still wait for is rather published twice than lost.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bson import Timestamp
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from outbox.message import transitions
from outbox.message.document import is_ours
from outbox.message.schema import OUTBOX, Database, Document
from outbox.message.subjects import subject_id
from outbox.streams.declaration import Streams, Subject

NEEDED = dict.fromkeys(("key", "position", "retried"), 1)
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

    Where the subject is wanted now, and the message has newer ones of the same key, MongoDB is asked what the subject
    was just before each of them. It remembers some minutes (`minSnapshotHistoryWindowInSeconds`, 300 by default); a
    message about which it does not remember enough counts as not settled.
    """
    messages = [message for message in messages if is_ours(message)]
    if subject is None or not messages:
        return set()
    left = await left_wanted(database, subject, {message.get("key", "") for message in messages}, session)
    done = {message["_id"] for message in messages if message.get("key") in left}
    return done | await _settled_before(database, subject, [m for m in messages if m["_id"] not in done], session)


async def without_subject(database: Database, subject: Subject, messages: Sequence[Document]) -> set[Any]:
    """Of `messages`, the ids of those whose subject cannot be found: it was deleted, or their key names none."""
    ids = [subject_id(message.get("key")) for message in messages]
    found = database.application[subject.collection].find({"_id": {"$in": ids}}, {"_id": 1}) if ids else None
    there = [document["_id"] async for document in found] if found else []
    return {message["_id"] for message in messages if subject_id(message.get("key")) not in there}


async def left_wanted(
    database: Database, subject: Subject, keys: Collection[str], session: AsyncClientSession | None = None
) -> set[str]:
    """Of `keys`, those whose subject is there and has another value now."""
    ids = {subject_id(key): key for key in keys}
    found = database.application[subject.collection].find(_left(subject, ids), {"_id": 1}, session=session)
    return {ids[document["_id"]] async for document in found}


async def complete_settled(
    database: Database, streams: Streams, subject: Subject, keys: Iterable[str], session: AsyncClientSession
) -> None:
    """In a transaction that makes the subjects of `keys` wanted again, before it does so: what was published of them,
    and is settled by now, becomes completed. Afterwards, only MongoDB's memory would tell."""
    left = await left_wanted(database, subject, set(keys), session)
    if left:
        names = [stream.name for stream in streams.values() if stream.subject == subject]
        await database[OUTBOX].update_many(*transitions.complete_superseded(left, names), session=session)


async def _settled_before(
    database: Database, subject: Subject, messages: Sequence[Document], session: AsyncClientSession | None
) -> set[Any]:
    """Those that were settled, and whose subject is wanted again because of a newer message."""
    older: defaultdict[str, list[Document]] = defaultdict(list)
    for message in messages:
        if isinstance(message.get("key"), str) and isinstance(message.get("position"), Timestamp):
            older[message["key"]].append(message)
    if not older:
        return set()
    first = min(message["position"] for of_key in older.values() for message in of_key)
    newer = database[OUTBOX].find(
        {"key": {"$in": list(older)}, "position": {"$gt": first}}, {"_id": 0, "key": 1, "position": 1}, session=session
    )
    found = await newer.sort("position", -1).limit(MOMENTS).to_list()
    done: set[Any] = set()
    moments = list(_moments(found).items())
    for start in range(0, len(moments), TOGETHER):
        asked = []
        for moment, keys in moments[start : start + TOGETHER]:
            suspects = [m for key in keys for m in older[key] if m["position"] < moment and m["_id"] not in done]
            if suspects:
                asked.append(_settled_at(database, subject, suspects, moment))
        try:
            for ids in await asyncio.gather(*asked):
                done |= ids
        except _Forgotten:
            break  # and so is all that was before
    return done


def _moments(newer: Sequence[Document]) -> Mapping[Timestamp, set[str]]:
    """When to look at the subjects of which keys, the latest moment first.

    A message's position is given when it is inserted, and so before its transaction commits: at that moment the subject
    is as it was before. What was appended together has positions that follow each other: nothing else has happened
    between them, and so they are one moment.
    """
    moments: dict[Timestamp, set[str]] = {}
    moment: Timestamp | None = None
    for message in newer:
        if not isinstance(message["key"], str) or not isinstance(message["position"], Timestamp):
            continue  # to MongoDB, a list equals whatever is in it
        position, keys = message["position"], {message["key"]}
        if moment and (position.time, position.inc + 1) == (moment.time, moment.inc):
            keys |= moments.pop(moment)
        moments[position], moment = keys, position
    return moments


async def _settled_at(
    database: Database, subject: Subject, messages: Sequence[Document], moment: Timestamp
) -> set[Any]:
    """Of `messages`, those that were committed at `moment`, and whose subject was there then, with another value.

    Not those that an operator has retried since: that has made the subject wanted for them.
    """
    ids = {subject_id(message["key"]): message["key"] for message in messages}
    left, there = await asyncio.gather(
        _at(database.application[subject.collection], moment, _left(subject, ids), {"_id": 1}),
        _at(database[OUTBOX], moment, {"_id": {"$in": [m["_id"] for m in messages]}}, {"retried": 1}),
    )
    keys = {ids[document["_id"]] for document in left}
    retried = {document["_id"]: document.get("retried") for document in there}
    return {
        m["_id"] for m in messages
        if m["key"] in keys and m["_id"] in retried and m.get("retried") == retried[m["_id"]]
    }  # fmt: skip


async def _at(
    collection: AsyncCollection[Document], moment: Timestamp, query: Document, fields: Document
) -> list[Document]:
    """What there was at `moment`, by what a majority has. Raises _Forgotten."""
    try:
        cursor = await collection.database.cursor_command(
            {
                "find": collection.name, "filter": query, "projection": fields,
                "readConcern": {"level": "snapshot", "atClusterTime": moment},
                "maxTimeMS": int(MOMENT_SECONDS * 1000),
            }
        )  # fmt: skip
        found: list[Document] = await cursor.to_list()
    except OperationFailure as error:
        raise _Forgotten from error
    return found


class _Forgotten(Exception):
    """MongoDB does not remember, or will not tell, what was at a moment of the past."""


def _left(subject: Subject, ids: Iterable[object]) -> Document:
    return {"_id": {"$in": list(ids)}, subject.field: {"$ne": subject.wanted}}

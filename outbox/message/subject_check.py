"""Whether subjects are where they are declared: the collection, the field, and ids of the type that keys are read as.

A declaration that is not true to what is there loses nothing: a subject that cannot be found settles no message. But it
makes every loss come again in full, so `outbox init` and `outbox verify` name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo.errors import OperationFailure

from outbox.database import OUTBOX, Database, Document
from outbox.message.subjects import by_declaration, collection_of
from outbox.message.unnamed import types_without_key
from outbox.printable import printable
from outbox.servers.outages import Trouble, classify
from outbox.streams.declaration import Stream, Streams, Subject

NEWEST = 1000
"""Documents of a collection, and messages, that are looked at."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest documents of a subject's collection: how many, and how many have the field."""

    documents: int
    with_field: int


async def sample(database: Database, subject: Subject) -> Sample:
    """Raises OperationFailure when the collection may not be read."""
    has_field = {"$cond": [{"$eq": [{"$type": f"${subject.field}"}, "missing"]}, 0, 1]}
    found = await collection_of(database, subject).aggregate(
        [
            {"$sort": {"_id": -1}},
            {"$limit": NEWEST},
            {"$group": {"_id": None, "documents": {"$sum": 1}, "with_field": {"$sum": has_field}}},
        ]
    )
    counted = next(iter(await found.to_list()), {})
    return Sample(counted.get("documents", 0), counted.get("with_field", 0))


async def differences(database: Database, streams: Streams) -> list[str]:
    """A line for each thing that is not as it is declared, with what to do."""
    lines = []
    for subject, about in by_declaration(streams).items():
        lines += [f"stream {about[0].family}: {line}" for line in await of(database, subject, about)]
    return lines


async def of(database: Database, subject: Subject, streams: Sequence[Stream]) -> list[str]:
    """The same of one subject, about which `streams` are."""
    collection = collection_of(database, subject)
    where = f"{collection.database.name}.{subject.collection}"
    try:
        if await is_missing(database, subject):
            return [
                f"its subject's collection {where} does not exist; if the application does not create it with its "
                "first document, correct the stream's declaration"
            ]
        there = await sample(database, subject)
        types = await types_without_key(database, subject)
    except OperationFailure as error:
        if classify(error) is Trouble.OUTAGE:
            raise
        return [f"its subject's collection {where} cannot be read: {printable(str(error))[:200]}"]
    lines = []
    if there.documents and not there.with_field and None not in subject.values:
        lines.append(
            f"none of the newest {there.documents} documents of {where} has the field {subject.field}, which says "
            "whether a message is settled; correct the stream's declaration"
        )
    if types and await _named_by_key(database, streams):
        lines.append(
            f"documents of {where} have an _id of type {', '.join(sorted(types))}, and the keys of messages are read "
            f'as {subject.id_type or "strings and ObjectIds"}; declare "id_type" in the stream\'s subject, or pass the '
            "_id to append as subject"
        )
    return lines


async def is_missing(database: Database, subject: Subject) -> bool:
    """Whether it is certain that there is no such collection: who may read it, need not be allowed to list them all."""
    collection = collection_of(database, subject)
    try:
        return not await collection.database.list_collection_names(filter={"name": collection.name})
    except OperationFailure as error:
        if classify(error) is Trouble.OUTAGE:
            raise
        return False


async def _named_by_key(database: Database, streams: Sequence[Stream]) -> bool:
    """Whether one of the newest messages has nothing but its key that names its subject."""
    by_key: Document = {"stream": {"$in": [stream.name for stream in streams]}, "subject": {"$exists": False}}
    newest: list[Document] = [{"$sort": {"_id": -1}}, {"$limit": NEWEST}, {"$match": by_key}, {"$limit": 1}]
    return bool(await (await database[OUTBOX].aggregate(newest)).to_list())

"""Documents that no key of a message leads to: their `_id` is of another type than keys are read as.

Asked of the index on `_id`, so that one such document is found among any number of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bson import Binary, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from outbox.database import Database, Document
from outbox.message.subjects import collection_of, ids_of
from outbox.servers.outages import Trouble, classify
from outbox.streams.declaration import Subject
from outbox.streams.identifiers import as_text, same

SAMPLED = 1000
"""Numbers that are looked at: which of them a key leads to, no index tells."""
MOST_LENGTHS = 100
"""Lengths of binary ids that are looked at."""

# Where the index begins with each type, in MongoDB's order of them.
_NUMBERS, _STRINGS, _OBJECTS, _BINARY = float("nan"), "", dict[str, Any](), Binary(b"", 0)
_OBJECT_IDS, _BOOLS, _DATES, _TIMESTAMPS = ObjectId(bytes(12)), False, DatetimeMS(-(2**63)), Timestamp(0, 0)
_REST = Regex("")

_Range = tuple[Any, Any]
_TEXTS: list[_Range] = [(_STRINGS, _OBJECTS), (_OBJECT_IDS, _BOOLS)]
_OF_NUMBERS = ("int", "long", "double", "decimal")
_NAMED: dict[str | None, list[_Range]] = {
    None: _TEXTS,
    "objectId": _TEXTS,
    "string": [(_STRINGS, _OBJECTS)],
    **{name: [(_NUMBERS, _STRINGS)] for name in _OF_NUMBERS},
    # Sorted by length, then by subtype: these are all of subtype 4 that have 16 bytes.
    "uuid": [(Binary(bytes(16), 4), Binary(bytes(16), 5))],
    "binData": [(_BINARY, _OBJECT_IDS)],
    "bool": [(_BOOLS, _DATES)],
    "date": [(_DATES, _TIMESTAMPS)],
    "timestamp": [(_TIMESTAMPS, _REST)],
}
"""By the declared type, the parts of the index to which keys lead: from the first value to before the second."""


async def types_without_key(database: Database, subject: Subject) -> frozenset[str] | None:
    """The types of `_id` that there are in the subject's collection, and that no key leads to; at least some of them.

    None: that cannot be found out, as of a view, which also hides documents that there are.

    :raises OperationFailure: the collection may not be read, or not at present.
    """
    collection = collection_of(database, subject)
    try:
        found = [each for low, high in _gaps(_NAMED[subject.id_type]) if (each := await _first(collection, low, high))]
        if subject.id_type == "binData":
            found += await _of_other_subtypes(collection)
        elif subject.id_type in _OF_NUMBERS:
            numbers = collection.find({"_id": {"$type": "number"}}, _TYPE).sort("_id", -1).limit(SAMPLED)
            found += [each async for each in numbers if not _leads(subject, each["_id"])]
    except OperationFailure as error:
        if classify(error) is Trouble.OUTAGE or error.code == _UNAUTHORIZED:
            raise
        return None
    return frozenset(map(_name, found))


_TYPE: Document = {"type": {"$type": "$_id"}}
_UNAUTHORIZED = 13


def _gaps(ranges: Iterable[_Range]) -> Iterator[_Range]:
    """What is before, between and after these. None: without an end."""
    low = None
    for begin, end in ranges:
        yield low, begin
        low = end
    yield low, None


async def _first(collection: AsyncCollection[Document], low: Any, high: Any) -> Document | None:
    """The `_id` of one document in this part of the index, and its type. A view refuses the question."""
    part = collection.find({}, _TYPE).hint({"_id": 1}).limit(1)
    part = part if low is None else part.min([("_id", low)])
    part = part if high is None else part.max([("_id", high)])
    return await anext(aiter(part), None)


async def _of_other_subtypes(collection: AsyncCollection[Document]) -> list[Document]:
    """One binary `_id` that is not of subtype 0, if there is one: one look for each length, which sorts first."""
    low = _BINARY
    for _ in range(MOST_LENGTHS):
        found = await _first(collection, low, _OBJECT_IDS)
        if found is None:
            return []
        if _subtype(found["_id"]):
            return [found]
        low = Binary(bytes(len(found["_id"])), 1)
    return [found] if found else []  # of so many lengths, it is not known


def _leads(subject: Subject, id_: Any) -> bool:
    return any(same(each) == same(id_) for each in ids_of(subject, {"key": as_text(id_)}))


def _subtype(id_: Any) -> int:
    return id_.subtype if isinstance(id_, Binary) else 0


def _name(document: Document) -> str:
    subtype = _subtype(document["_id"])
    return f"{document['type']} (subtype {subtype})" if subtype else str(document["type"])

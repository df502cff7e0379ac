"""Records: the documents of leases and relays, as somebody has left them. What no relay has written is left out.

One such document must not stop a relay, or whoever looks at it. `outbox verify` names it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from bson import Int64
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import LENIENT, OUTBOX, PARTITIONS, RELAYS, Database, Document
from outbox.streams.declaration import Partition

_WHOLE = ("int", "long")


def _is(name: str, *types: str) -> Document:
    return {"$in": [{"$type": f"${name}"}, list(types)]}


_A_TIME: Document = {
    "$and": [
        _is("expires_at", "date"),
        # What this language can hold: MongoDB holds more.
        {"$gte": ["$expires_at", datetime(1, 1, 2, tzinfo=UTC)]},
        {"$lte": ["$expires_at", datetime(9999, 12, 30, tzinfo=UTC)]},
    ]
}
_LISTED = {"$in": [{"$type": "$streams"}, ["array", "missing"]]}
_REVISED = {"$in": [{"$type": "$revisions"}, ["array", "missing"]]}


def _each(name: str, condition: Document) -> Document:
    """Whether it is so of all that the list holds, if it is one."""
    listed = {"$cond": [{"$isArray": f"${name}"}, f"${name}", []]}
    return {"$allElementsTrue": {"$map": {"input": listed, "as": "one", "in": condition}}}


MAX_TOKEN = 10**14
"""What no lease comes near: see fences.py."""

SOUND_LEASE: Document = {
    "$and": [
        _is("stream", "string"),
        _is("number", *_WHOLE),
        _is("owner", "string", "null"),
        _is("token", *_WHOLE),
        {"$and": [{"$gte": ["$token", 0]}, {"$lt": ["$token", MAX_TOKEN]}]},
        _is("batch", *_WHOLE),
        _is("tag", "string"),
        {"$or": [_is("expires_at", "null"), _A_TIME]},
        # Last, since text can only be made of what it is by now.
        {"$eq": ["$_id", {"$concat": ["$stream", "/", {"$toString": "$number"}]}]},
    ]
}
"""An expression: whether a document is a lease of the partition that its `_id` names."""

SOUND_RELAY: Document = {
    "$and": [
        _is("_id", "string"),
        _A_TIME,
        _LISTED,
        _REVISED,
        _each("streams", _is("$one", "string")),
        _each("revisions", {"$and": [_is("$one.stream", "string"), _is("$one.revision", *_WHOLE)]}),
    ]
}
"""An expression: whether a document is what a live relay of this version, or of the one before, says of itself."""


async def partitions(database: Database, session: AsyncClientSession | None = None) -> list[Partition]:
    """All that there are, also those whose lease cannot be read otherwise."""
    leases = database[PARTITIONS].with_options(codec_options=LENIENT)
    found = leases.find({}, {"stream": 1, "number": 1}, session=session)
    return [
        Partition(lease["stream"], int(lease["number"]))
        async for lease in found
        if isinstance(lease.get("stream"), str) and type(lease.get("number")) in (int, Int64)
    ]


def heads(database: Database, where: Document, by: str, fields: Document) -> list[Document]:
    """A pipeline on the partitions: the message at the `head` of each, of those that are as `where`, in the order `by`.

    One request instead of one for each partition. `where` names a state, which has an index by stream, partition and
    `by`: of each partition one key is read.
    """
    of_this = {"$and": [{"$eq": ["$stream", "$$stream"]}, {"$eq": ["$partition", "$$number"]}]}
    first: list[Document] = [
        {"$match": {**where, "$expr": of_this}}, {"$sort": {by: 1}}, {"$limit": 1}, {"$project": fields},
    ]  # fmt: skip
    looked_up = {
        "from": database[OUTBOX].name, "let": {"stream": "$stream", "number": "$number"}, "pipeline": first,
        "as": "head",
    }  # fmt: skip
    return [
        {"$match": {"$expr": {"$and": [_is("stream", "string"), _is("number", *_WHOLE)]}}},
        {"$lookup": looked_up},
        {"$unwind": "$head"},
        {"$project": {"_id": 0, "stream": 1, "number": 1, "head": 1}},
    ]


async def relays(database: Database) -> list[Document]:
    """Those that are alive by the server's clock."""
    alive = {"$expr": {"$and": [SOUND_RELAY, {"$gt": ["$expires_at", "$$NOW"]}]}}
    return await database[RELAYS].with_options(codec_options=LENIENT).find(alive).to_list()

"""Unique messages: which message stands for a unique value, kept in a document for each value of each stream.

An append and the completion of the message that it finds both write to that document, in their transactions. So of two
that meet, MongoDB lets one wait for the other's outcome by running it again, and a message that an append leaves out is
always one whose handler sees what the append's transaction wrote.

An insert would do as little: that its key is there already ends the whole transaction of whoever appends, for good.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from bson import ObjectId
from pymongo import DeleteOne, ReadPreference, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox.database import LENIENT, OUTBOX, UNIQUE, Database, Document, PlainDatabase
from outbox.message.document import State, number
from outbox.servers.clock import server_time
from outbox.streams.declaration import Stream, Streams

WAITING = [State.SCHEDULED.value, State.PENDING.value, State.PUBLISHED.value]
"""States of a message that is not done: another one of the same is not needed."""

SETTLING = timedelta(minutes=5)
PAGE = 1000


class Statement(NamedTuple):
    """A call of a collection's method, which is asynchronous or not: `collection` is the outbox's name for it.

    `find` looks for one document, and its result is that of the command.
    """

    collection: str
    method: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


_CENTURY = 100 * 365 * 86400.0

Claims = Generator[Statement, Any, dict[ObjectId, ObjectId]]


def any_in(documents: Iterable[Document]) -> bool:
    """Whether one of the new messages has a unique value."""
    return any("unique" in document for document in documents)


def claim(documents: Sequence[Document], streams: Streams, registered: Mapping[str, float]) -> Claims:
    """The statements by which new messages claim their unique values, each of which is sent its result.

    `registered` are the `unique_seconds` of streams that are known to be registered: they count, not those declared.
    Returns the messages that are not needed, each with the one that stands in its place. To be carried out in the
    transaction that inserts the others.
    """
    instead: dict[ObjectId, ObjectId] = {}
    inserted: set[ObjectId] = set()
    for document in documents:
        if "unique" not in document:
            continue
        new, stream = document["_id"], streams[document["stream"]]
        seconds = registered.get(stream.topic or stream.family, stream.unique_seconds)
        place = {"_id": _name(stream, document["unique"])}
        found = yield _ask(place, new, seconds)
        stands = found["message"]
        # What others wrote there stands for nothing.
        known = isinstance(stands, ObjectId) and stands != new
        if known and (stands in inserted or (not found["fresh"] and (yield from _holds(found, seconds)))):
            instead[new] = stands
            continue
        if not found["fresh"]:
            yield Statement(UNIQUE, "update_one", (place, [{"$set": _taken(new, seconds)}]), {})
        inserted.add(new)
    return instead


def _ask(place: Document, new: ObjectId, seconds: float) -> Statement:
    """Who stands for the value: a new message, where none does."""
    change = {
        **{name: {"$ifNull": [f"${name}", value]} for name, value in _taken(new, seconds).items()},
        "fresh": {"$eq": [{"$type": "$message"}, "missing"]},
        "appends": {"$add": [number("appends"), 1]},
        "at": "$$NOW",
    }
    options = {"upsert": True, "return_document": ReturnDocument.AFTER}
    return Statement(UNIQUE, "find_one_and_update", (place, [{"$set": change}]), options)


def _milliseconds(seconds: float) -> int:
    """What was declared, or written into the registry by others, may be no time that MongoDB can count with."""
    return int(min(seconds, _CENTURY) * 1000) if seconds > 0 else 0


def _taken(new: ObjectId, seconds: float) -> Document:
    return {"message": new, "until": {"$add": ["$$NOW", _milliseconds(seconds)]}}


def _holds(found: Document, seconds: float) -> Generator[Statement, Any, bool]:
    """Whether the message that stands for the value rules out another one."""
    until = found["until"]
    left = (until - found["at"]).total_seconds() if isinstance(until, datetime) else 0
    if 0 < left <= seconds:  # more is left only after the server's clock was set back
        return True
    waiting = {"_id": found["message"], "state": {"$in": WAITING}}
    looked = yield Statement(OUTBOX, "find", (waiting,), {})
    return bool(looked["cursor"]["firstBatch"])


async def carry_out(claims: Claims, database: Database, session: AsyncClientSession) -> dict[ObjectId, ObjectId]:
    """Returns what `claims` does. Raises what MongoDB raises: a conflict with another append, of the same value."""
    try:
        statement = next(claims)
        while True:
            statement = claims.send(await _request(statement, database, session))
    except StopIteration as end:
        instead: dict[ObjectId, ObjectId] = end.value
        return instead


def carry_out_sync(claims: Claims, database: PlainDatabase, session: ClientSession) -> dict[ObjectId, ObjectId]:
    """The same for a synchronous session."""
    try:
        statement = next(claims)
        while True:
            statement = claims.send(_request(statement, database, session))
    except StopIteration as end:
        instead: dict[ObjectId, ObjectId] = end.value
        return instead


def _request(statement: Statement, database: Any, session: AsyncClientSession | ClientSession) -> Any:
    """The result, or what gives it when awaited.

    Documents are read as we need them, however the application has its own client read dates, and at the primary,
    where a transaction has to be: PyMongo refuses a `find` when a client prefers secondaries.
    """
    collection = database[statement.collection].with_options(codec_options=LENIENT)
    if statement.method == "find":
        one = {"filter": statement.arguments[0], "projection": {"_id": 1}, "limit": 1, "singleBatch": True}
        return database.command("find", collection.name, **one, read_preference=ReadPreference.PRIMARY, session=session)
    return getattr(collection, statement.method)(*statement.arguments, **statement.options, session=session)


class Unique(Protocol):
    """A message in the hands of a worker."""

    @property
    def id(self) -> ObjectId: ...

    @property
    def unique(self) -> str | None: ...


def touch(stream: Stream, messages: Iterable[Unique]) -> list[tuple[Document, Document]]:
    """The updates that belong into the transaction that completes these messages: one for each unique value.

    An append that has found the message waiting, and its completion, then cannot both be committed as if the other were
    not there: the handler is called again, or the append adds a message.
    """
    return [
        ({"_id": _name(stream, one.unique), "message": one.id}, {"$currentDate": {"completed_at": True}})
        for one in messages
        if one.unique is not None
    ]


def _name(stream: Stream, value: str) -> Document:
    return {"stream": stream.family, "unique": value}


async def prune(database: Database) -> int:
    """Forget the values for which no message waits, and whose time is over by the server's clock; returns how many.

    A dead one may be retried, and would wait beside another of its value then.
    """
    values = database[UNIQUE].with_options(codec_options=LENIENT)
    waiting = {
        "from": database[OUTBOX].name, "localField": "message", "foreignField": "_id", "as": "waiting",
        "pipeline": [{"$match": {"state": {"$in": [*WAITING, State.DEAD.value]}}}, {"$project": {"_id": 1}}],
    }  # fmt: skip
    limit, pruned, last = await server_time(database) - SETTLING, 0, None
    while True:
        old = {"at": {"$lt": limit, **({"$gt": last} if last else {})}}
        stages: list[Document] = [{"$match": old}, {"$sort": {"at": 1}}, {"$limit": PAGE}, {"$lookup": waiting}]
        page = await (await values.aggregate([*stages, {"$set": {"over": {"$lte": ["$until", "$$NOW"]}}}])).to_list()
        if not page:
            return pruned
        last = page[-1]["at"]
        # None that was appended again meanwhile.
        over = [one for one in page if one["over"] and not one["waiting"]]
        deletions = [DeleteOne({"_id": one["_id"], "appends": one["appends"]}) for one in over if "appends" in one]
        if deletions:
            pruned += (await database[UNIQUE].bulk_write(deletions, ordered=False)).deleted_count

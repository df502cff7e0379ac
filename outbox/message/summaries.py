"""Summaries: of all messages about a document, what decides whether it needs one. Small, however many they are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.message.document import State
from outbox.message.subjects import about, by_subject
from outbox.streams.declaration import Subject

_OPEN = [State.SCHEDULED.value, State.PENDING.value, State.PUBLISHED.value, State.DEAD.value]
_NAMED = {"$ne": [{"$type": "$subject"}, "missing"]}
_NAME = {
    "subject": {"$cond": [_NAMED, {"id": "$subject.id"}, "$$REMOVE"]},
    "key": {"$cond": [_NAMED, "$$REMOVE", "$key"]},
}


@dataclass(frozen=True, slots=True)
class Summary:
    """`is_open`: one of the messages is not completed. `last`: the `_id` of the one with the highest position."""

    is_open: bool
    last: Any


async def summaries(
    database: Database,
    subject: Subject,
    ids: Sequence[Any],
    streams: Iterable[str],
    session: AsyncClientSession | None = None,
) -> Mapping[Hashable, Summary]:
    """Of each of these documents that messages of `streams` are about, by `identifiers.same`."""
    pipeline: list[Document] = [
        {"$match": {**about(ids), "stream": {"$in": list(streams)}}},
        # MongoDB sends one document for each name of a document, and not one for each message.
        {"$group": {
            "_id": _NAME,
            "open": {"$max": {"$in": ["$state", _OPEN]}},
            "last": {"$max": {"position": "$position", "id": "$_id"}},
        }},
        {"$sort": {"last": -1}},
    ]  # fmt: skip
    messages = database[OUTBOX].with_options(codec_options=LENIENT)
    found = await (await messages.aggregate(pipeline, session=session)).to_list()
    named = [{**each["_id"], "open": each["open"], "last": each["last"].get("id")} for each in found]
    return {
        name: Summary(any(each["open"] for each in of_it), of_it[0]["last"])
        for name, of_it in by_subject(subject, named, ids).items()
    }

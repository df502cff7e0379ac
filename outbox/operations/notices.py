"""Notices: what a relay has to know beside messages, read in one command with each renewal of its leases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outbox.database import JOBS, LENIENT, META, STREAMS, Database, Document
from outbox.message import meta


@dataclass(frozen=True, slots=True)
class Notice:
    """`identity`: of the outbox that is in the database. `streams`: the documents of the registry, by name.

    `replay`: whether there is a replay that is not finished, whoever works on it.
    """

    identity: str
    streams: Sequence[Document]
    replay: bool


async def read(database: Database) -> Notice:
    """What is so now.

    :raises SchemaError: there is no outbox in the database any more.
    """
    unfinished: list[Document] = [{"$match": {"open": True}}, {"$limit": 1}, {"$project": {"_id": 0, "replay": "$_id"}}]
    registered: list[Document] = [{"$sort": {"_id": 1}}, {"$project": {"_id": 0, "stream": "$$ROOT"}}]
    pipeline: list[Document] = [
        {"$match": {"_id": meta.ID}},
        {"$project": {"_id": 0, "identity": 1, "meta": "$_id"}},
        {"$unionWith": {"coll": database[STREAMS].name, "pipeline": registered}},
        {"$unionWith": {"coll": database[JOBS].name, "pipeline": unfinished}},
    ]
    about: Document | None = None
    streams: list[Document] = []
    replay = False
    async for one in await database[META].with_options(codec_options=LENIENT).aggregate(pipeline):
        if "meta" in one:
            about = one
        elif "stream" in one:
            streams.append(one["stream"])
        else:
            replay = True
    return Notice(meta.identity_of(database, about), streams, replay)

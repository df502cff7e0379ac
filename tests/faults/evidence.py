"""Evidence: what can be seen where something did not happen in time. When its report is read, the servers are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from pprint import pformat
from typing import Any

import pymongo
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from outbox.database import OUTBOX, PARTITIONS, RELAYS, Database, Document

LATEST = 30
"""Lines of a log that are shown."""
SECONDS = 10


@asynccontextmanager
async def shown(database: Database, logs: Sequence[MutableMapping[str, Any]], folder: Path) -> AsyncIterator[None]:
    """An AssertionError inside carries notes: what the database and its server show, and the latest lines of relays: of
    those in this process from `logs`, of others from files in `folder`.
    """
    try:
        yield
    except AssertionError as error:
        try:
            with pymongo.timeout(SECONDS):
                for name, found in (await _seen(database)).items():
                    error.add_note(f"{name}: {pformat(found, width=200)}")
        except PyMongoError as refused:
            error.add_note(f"MongoDB could not be looked at: {refused}")
        error.add_note(f"relays in this process: {pformat(list(logs[-LATEST:]), width=200)}")
        for log in sorted(folder.glob("relay-*.log")):
            error.add_note("\n".join([log.name, *log.read_text(errors="replace").splitlines()[-LATEST:]]))
        raise


async def _seen(database: Database) -> dict[str, list[Document]]:
    server = database.client.admin.with_options(read_concern=ReadConcern("local"))  # $currentOp takes no other
    pending = database[OUTBOX].find({"state": "pending"}, {"fields": 0}, limit=5)
    return {
        "MongoDB's clock": await (await server.aggregate([{"$documents": [{"now": "$$NOW"}]}])).to_list(),
        "pending": await pending.to_list(),
        "leases": await database[PARTITIONS].find({}, {"intent": 0}).to_list(),
        "relays": await database[RELAYS].find().to_list(),
        "operations": await (await server.aggregate(_LONG)).to_list(),
    }


_LONG: list[Document] = [
    {"$currentOp": {"idleSessions": True}},
    {"$match": {"$or": [{"microsecs_running": {"$gte": 1_000_000}}, {"transaction": {"$exists": True}}]}},
    {"$project": {"type": 1, "appName": 1, "desc": 1, "op": 1, "ns": 1, "command": 1, "microsecs_running": 1,
                  "waitingForLock": 1, "locks": 1, "transaction": 1, "writeConflicts": 1}},
]  # fmt: skip

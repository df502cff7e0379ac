"""Reasons: why messages are dead, alike ones together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from outbox.database import OUTBOX, Database, Document
from outbox.message.document import State
from outbox.message.poison import MAX_REASON

LIMIT = 1000
COUNTED = 100_000
"""How many dead messages are read for a page, at most: each is a document, and after a bad day there are millions."""

_VARYING = re.compile(r"\b[0-9a-f]{24}\b|\d+")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why messages of a stream are dead. Numbers and ids in the text are replaced, so that alike ones come together."""

    stream: str
    text: str
    count: int
    latest: datetime | None
    example: ObjectId


async def reasons(database: Database) -> list[Reason]:
    """Why messages are dead, the commonest first: of the first `COUNTED` in the index, the newest of a stream first."""
    # Cut before they are grouped: nobody has bounded what was written around the library.
    texts: Document = {"$cond": [{"$eq": [{"$type": "$last_error"}, "string"]}, "$last_error", ""]}
    cut: Document = {"stream": 1, "died_at": 1, "last_error": {"$substrCP": [texts, 0, MAX_REASON]}}
    grouped: Document = {
        "_id": {"stream": "$stream", "reason": "$last_error"},
        "count": {"$sum": 1}, "latest": {"$max": "$died_at"}, "example": {"$max": "$_id"},
    }  # fmt: skip
    found = await database[OUTBOX].aggregate(
        [
            {"$match": {"state": State.DEAD.value}},
            {"$sort": {"state": -1, "stream": -1, "_id": -1}},  # as the index is, so that nothing is sorted
            {"$limit": COUNTED},
            {"$project": cut},
            {"$group": grouped},
            {"$sort": {"count": -1}},
            {"$limit": LIMIT},
        ],
        hint="dead",
    )
    alike: dict[tuple[str, str], Reason] = {}
    async for group in found:
        stream = str(group["_id"].get("stream"))
        text = _VARYING.sub("…", str(group["_id"].get("reason") or "no reason is recorded"))
        other = alike.get((stream, text))
        latest = group["latest"] if isinstance(group["latest"], datetime) else None
        alike[stream, text] = Reason(
            stream, text, group["count"] + (other.count if other else 0),
            max((t for t in (latest, other.latest if other else None) if t), default=None), group["example"],
        )  # fmt: skip
    return sorted(alike.values(), key=lambda reason: -reason.count)

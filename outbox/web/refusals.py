"""Refusals: how often an address has shown a key that is not known, counted for all processes together."""

from __future__ import annotations

from pymongo import ReturnDocument

from outbox.database import REFUSALS, Database, Document

WINDOW_SECONDS = 60
"""A count begins with its first refusal, and is forgotten this long after it, by the server's clock."""


async def count(database: Database, what: str, address: str) -> int:
    """Count one more `what` of `address`; returns how many there were in this window, this one included."""
    # Of what others wrote there, nothing is counted.
    known: Document = {"$in": [{"$type": "$count"}, ["int", "long"]]}
    still: Document = {"$and": [known, {"$eq": [{"$type": "$until"}, "date"]}, {"$gt": ["$until", "$$NOW"]}]}
    found = await database[REFUSALS].find_one_and_update(
        {"_id": f"{what} {address}"},
        [
            {
                "$set": {
                    "count": {"$cond": [still, {"$add": ["$count", 1]}, 1]},
                    "until": {"$cond": [still, "$until", {"$add": ["$$NOW", WINDOW_SECONDS * 1000]}]},
                }
            }
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert found is not None, "an upsert returns what it wrote"
    return int(found["count"])

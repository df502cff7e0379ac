"""Time, moved by hand: what is stored of messages goes into the past."""

from __future__ import annotations

from datetime import timedelta

from outbox.database import OUTBOX, UNIQUE, Document, PlainDatabase


def advance(database: PlainDatabase, time: timedelta) -> None:
    """Every time that is stored of a message, or of its unique value, becomes earlier by `time`."""
    milliseconds = round(time.total_seconds() * 1000)
    earlier = {"$subtract": ["$$each.v", milliseconds]}
    value: Document = {"$cond": [{"$eq": [{"$type": "$$each.v"}, "date"]}, earlier, "$$each.v"]}
    fields: Document = {
        "$map": {"input": {"$objectToArray": "$$ROOT"}, "as": "each", "in": {"k": "$$each.k", "v": value}}
    }
    for name in (OUTBOX, UNIQUE):
        database[name].update_many({}, [{"$replaceWith": {"$arrayToObject": fields}}])

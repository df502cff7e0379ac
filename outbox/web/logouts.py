"""Logouts: sessions of the dashboard that were ended before their time, for every process to know."""

from __future__ import annotations

from collections.abc import Iterable

from outbox.database import LOGOUTS, Database


async def end(database: Database, session: str, *, seconds: int) -> None:
    """Put on record that `session` has ended. Kept for `seconds`, after which it would have ended by itself."""
    await database[LOGOUTS].update_one(
        {"_id": session}, [{"$set": {"until": {"$add": ["$$NOW", seconds * 1000]}}}], upsert=True
    )


async def ended(database: Database, sessions: Iterable[str]) -> set[str]:
    """Those of `sessions` that have ended."""
    found = database[LOGOUTS].find({"_id": {"$in": list(sessions)}}, {"_id": 1})
    return {document["_id"] async for document in found}

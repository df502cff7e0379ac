"""Delays: how long the newest messages took from append to their stream."""

from __future__ import annotations

from datetime import datetime

from outbox.database import LENIENT, OUTBOX, Database

NEWEST = 100
"""Of how many messages, at most."""


async def of_newest(database: Database, since: datetime) -> tuple[float, ...]:
    """Seconds from append to publication of those of the newest messages that were published after `since`, for the
    first time and as soon as they could. The appending process's clock has a part in them.

    Until its mark, or until a worker completed it before that: some 50 ms more than it took to its stream.
    """
    fields = {"created_at": 1, "available_at": 1, "published_at": 1, "completed_at": 1, "attempts": 1}
    readable = database[OUTBOX].with_options(codec_options=LENIENT)
    delays = []
    async for message in readable.find({}, fields).sort("_id", -1).limit(NEWEST):
        created, published = message.get("created_at"), message.get("published_at") or message.get("completed_at")
        first = message.get("attempts") == 1 and not message.get("available_at")
        if first and isinstance(created, datetime) and isinstance(published, datetime) and published > since:
            delays.append(max(0.0, (published - created).total_seconds()))
    return tuple(delays)

"""What is read at the moment, also of a primary that was elected a moment ago.

Such a one reads, with the majority, what a majority is known to have: for a while that may be older than what was
acknowledged before it was elected, and than what its own updates find.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import Database


@asynccontextmanager
async def as_of_now(database: Database) -> AsyncIterator[AsyncClientSession]:
    """A session whose reads see at least all that was committed until now, which is its `operation_time`.

    They wait for it. A primary that was deposed and does not know it has no answer for them.
    """
    async with database.client.start_session(causal_consistency=True) as session:
        await database.command("ping", session=session)
        yield session

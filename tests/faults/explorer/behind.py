"""Behind: clocks of servers that were set far back, until everything comes to rest."""

from __future__ import annotations

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from outbox.database import Document
from tests.faults.clocks import Clock
from tests.waiting import eventually

SECONDS = 3600
"""So far that nobody waits until it is as late again."""
PUBLISHED_SECONDS = 90


class Behind:
    """Of one exploration."""

    def __init__(self) -> None:
        self._were: dict[Clock, int] = {}

    def set_back(self, clock: Clock) -> None:
        self._were.setdefault(clock, clock.seconds)
        clock.set(clock.seconds - SECONDS)

    async def put_right(self, messages: AsyncCollection[Document]) -> None:
        """First whatever is pending is published, as no clock may prevent; what is scheduled waits for its own time."""

        async def nothing_pending() -> bool:
            return await messages.find_one({"state": "pending"}, {"_id": 1}) is None

        if self._were:
            await _end_open_transactions(messages.database.client)
            await eventually(nothing_pending, PUBLISHED_SECONDS, what="all is published by clocks that are far behind")
        for clock, seconds in self._were.items():
            clock.set(max(clock.seconds, seconds))
        self._were.clear()


async def _end_open_transactions(client: AsyncMongoClient[Document]) -> None:
    """MongoDB ends what a killed worker has left open after a minute by its own clock, which is an hour now.

    Until then a partition may stand still, as whatever else wants to write what is locked.
    """
    left = {"type": "idleSession", "transaction": {"$exists": True}}
    admin = client.admin.with_options(read_concern=ReadConcern("local"))  # the stage takes no other
    found = await admin.aggregate([{"$currentOp": {"idleSessions": True}}, {"$match": left}])
    if sessions := [{"lsid": one["lsid"]} async for one in found]:
        await admin.command("killAllSessionsByPattern", sessions)

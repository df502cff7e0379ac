"""Locks: what a worker's open transactions have written is locked when it dies, for up to a minute, unless they are
ended. Whoever takes its messages over would meet nothing but conflicts for so long.

They are found by the name that a worker's connections have at MongoDB: its consumer's and its outbox's database.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pymongo
import structlog
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from outbox.database import PREFIX, Database, Document, Place
from outbox.printable import printable
from outbox.servers import causes

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 2.0
BEGAN = time.monotonic()
"""When this process did. A lifespan, or another consumer of its name in it, may have begun transactions since then."""
MAX_NAME = 128
"""Bytes of a connection's name, as the driver's specification has it."""


def connection_name(consumer: str, place: Place) -> str:
    """What the connections of this consumer are called at MongoDB, where another outbox may have one of its name."""
    name = f"{printable(consumer)} {place.database}{'' if place.prefix == PREFIX else f'/{place.prefix}'}"
    return name if len(name.encode()) <= MAX_NAME else f"outbox:{hashlib.sha256(name.encode()).hexdigest()}"


class Locks:
    """Ends what other consumers have left open. Nothing of it lasts.

    Whatever goes wrong, the server ends it itself, after a minute: where workers have users of their own at MongoDB,
    one cannot see what another has left.
    """

    def __init__(self, database: Database, consumer: str, *, silent_seconds: float) -> None:
        self._admin = database.client.admin.with_options(read_concern=ReadConcern("local"))  # the stage takes no other
        self._place = database.place
        self._name = connection_name(consumer, self._place)
        self._idle = {"transaction.timeInactiveMicros": {"$gte": int(silent_seconds * 1_000_000)}}

    async def end_of_predecessor(self) -> None:
        """End what the process before this one, under the same name, has left, however short it was idle."""
        await self._end(self._name, {})

    async def end_of(self, consumer: str) -> None:
        """End what one has left that is taken for dead: transactions that were idle for that long, in all.

        Which they may not be yet, where it died right after a statement: ask again while there are conflicts. If it
        lives, its handlers meet an error of their transaction, and are called again where they are still wanted.
        """
        await self._end(connection_name(consumer, self._place), self._idle)

    async def _end(self, name: str, which: Document) -> None:
        try:
            with pymongo.timeout(TIMEOUT_SECONDS):
                left = {"type": "idleSession", "appName": name, "transaction": {"$exists": True}, **which}
                found = await self._admin.aggregate([{"$currentOp": {"idleSessions": True}}, {"$match": left}])
                operations = await found.to_list()
                sessions = [{"id": one["lsid"]["id"]} for one in operations if name != self._name or _is_older(one)]
                if sessions:
                    await self._admin.command("killSessions", sessions)
                    log.info("transactions of a dead worker ended", died=name, transactions=len(sessions))
        except PyMongoError as error:
            log.debug("transactions of a dead worker not ended", died=name, reason=str(causes.explain(error)))


def _is_older(operation: Document) -> bool:
    """Than this process. Compared after the look at it: one of our own is younger, however long the look took."""
    open_for: Any = operation["transaction"].get("timeOpenMicros", 0)
    return bool(open_for / 1_000_000 >= time.monotonic() - BEGAN)

"""Presence: a consumer records that it is at work and what it holds, for `outbox status` and the dashboard to show."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pymongo
import structlog
from pymongo.errors import DuplicateKeyError, PyMongoError

from outbox.database import WORKERS, Database, Document
from outbox.printable import printable
from outbox.servers import causes
from outbox.servers.outages import Trouble, classify
from outbox.streams.declaration import Stream
from outbox.worker.hand import Hand

log = structlog.get_logger(__name__)

EVERY_SECONDS = 5.0
SHOWN = 20
"""Of what it holds, so many are named, those that it has held for longest."""
TIMEOUT_SECONDS = 5.0
LEAVE_SECONDS = 2.0
"""For taking the record away at the end, which is only tidiness."""


class Presence:
    """The record of one consumer. Whatever goes wrong with it, the consumer goes on."""

    def __init__(
        self,
        database: Database,
        name: str,
        streams: Sequence[Stream],
        hands: Mapping[tuple[Stream, str], Hand],
        concurrency: int,
    ) -> None:
        self._database = database
        self._records = database[WORKERS]
        self._name = name
        self._hands = hands
        self._about = {
            "host": printable(socket.gethostname()), "pid": os.getpid(), "streams": [stream.name for stream in streams],
            "concurrency": concurrency, "every_seconds": EVERY_SECONDS,
        }  # fmt: skip
        self._refused = False

    async def keep(self, end: asyncio.Event) -> None:
        """Record it every few seconds until `end`, then take the record away."""
        while not end.is_set() and await self._recorded():
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS * random.uniform(0.8, 1.0)):
                    await end.wait()
        await self._leave()

    async def _leave(self) -> None:
        with suppress(PyMongoError), pymongo.timeout(LEAVE_SECONDS):
            await self._records.delete_one({"_id": self._name})

    async def _recorded(self) -> bool:
        """False: it makes no sense to try again."""
        try:
            with pymongo.timeout(TIMEOUT_SECONDS):
                await self.record()
        except PyMongoError as error:
            # An outage is logged by whoever cannot do without the server.
            if classify(error) is Trouble.MISCONFIGURED and not self._refused:
                log.warning("worker not recorded", reason=str(causes.explain(error)))
                self._refused = True
        except NotThere:
            log.info("worker not recorded", reason="the database was set up by an earlier version: run `outbox init`")
            return False
        return True

    async def record(self) -> None:
        """Record what is held now. Raises what MongoDB raises, and NotThere."""
        holds = sorted(self._hands.items(), key=lambda item: item[1].began)
        change: list[Document] = [
            {
                "$set": {
                    **{name: {"$literal": value} for name, value in self._about.items()},
                    "started_at": {"$ifNull": ["$started_at", "$$NOW"]},
                    "seen_at": "$$NOW",
                    "in_flight": len(holds),
                    "holds": [_held(stream, entry, hand) for (stream, entry), hand in holds[:SHOWN]],
                }
            }
        ]
        if (await self._records.update_one({"_id": self._name}, change)).matched_count:
            return
        # An upsert could not use the server's time, and an insert would make a collection that `outbox init` has not.
        if not await self._database.list_collection_names(filter={"name": self._records.name}):
            raise NotThere
        with suppress(DuplicateKeyError):
            await self._records.insert_one({"_id": self._name})
        await self._records.update_one({"_id": self._name}, change)


class NotThere(Exception):
    """The collection is not there."""


def _held(stream: Stream, entry: str, hand: Hand) -> Document:
    return {
        "stream": {"$literal": stream.name},
        "entry": {"$literal": entry},
        "message": hand.sent.id if hand.sent else None,
        "attempt": hand.sent.attempt if hand.sent else 0,
        "since": {"$subtract": ["$$NOW", int((time.monotonic() - hand.began) * 1000)]},
        "limit_seconds": hand.limit_seconds,
    }

"""Presence: a consumer records that it is at work and what it holds, for `outbox status` and the dashboard to show.

By these records, consumers of one name find each other.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pymongo
import structlog
from pymongo.errors import DuplicateKeyError, PyMongoError

from outbox.database import LENIENT, WORKERS, Database, Document
from outbox.printable import printable
from outbox.servers import causes
from outbox.servers.outages import Trouble, classify
from outbox.streams.declaration import Stream
from outbox.worker.hand import Hand

log = structlog.get_logger(__name__)

EVERY_SECONDS = 5.0
LATELY = 3
"""A record that is no older than so many times `EVERY_SECONDS` is of a process that was there just now."""
SHOWN = 20
"""Of what it holds, so many are named, those that it has held for longest."""
TIMEOUT_SECONDS = 5.0
LEAVE_SECONDS = 2.0
"""For taking the record away at the end, which is only tidiness."""
PROCESS = secrets.token_hex(8)
"""This process: in containers, others may have its host's name and its number, too."""


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
        self._records = database[WORKERS].with_options(codec_options=LENIENT)
        self._name = name
        self._hands = hands
        self._about = {
            "host": printable(socket.gethostname()), "pid": os.getpid(), "streams": [stream.name for stream in streams],
            "concurrency": concurrency, "every_seconds": EVERY_SECONDS, "process": PROCESS,
        }  # fmt: skip
        self._refused = False
        self._on_record = False
        self.shared = False
        """Another process works under this name, or did so: what is held under it may be in that one's hands."""

    async def begin(self) -> bool:
        """Record it for the first time, before anything is taken over. `shared` is known then.

        What another process holds would be taken for what this one held before it was started again, and be worked on
        twice. Of a process of this machine it is known whether it runs. Of another machine's, that it was there just
        now. False: MongoDB does not say.
        """
        return await self._recorded() is not None

    async def keep(self, end: asyncio.Event) -> None:
        """Record it every few seconds until `end`, then take the record away."""
        while not end.is_set() and await self._recorded() is not False:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS * random.uniform(0.8, 1.0)):
                    await end.wait()
        await self._leave()

    async def _leave(self) -> None:
        with suppress(PyMongoError), pymongo.timeout(LEAVE_SECONDS):
            await self._records.delete_one({"_id": self._name, "process": self._about["process"]})

    async def _recorded(self) -> bool | None:
        """False: it makes no sense to try again. None: it was not recorded this time."""
        try:
            with pymongo.timeout(TIMEOUT_SECONDS):
                await self.record()
        except PyMongoError as error:
            # An outage is logged by whoever cannot do without the server.
            if classify(error) is Trouble.MISCONFIGURED and not self._refused:
                log.warning("worker not recorded", reason=str(causes.explain(error)))
                self._refused = True
            return None
        except NotThere:
            log.info("worker not recorded", reason="the database was set up by an earlier version: run `outbox init`")
            return False
        return True

    async def look(self) -> None:
        """Find out anew whether it is `shared`. While MongoDB does not say, what was known before counts."""
        if self.shared or not self._on_record:
            return
        try:
            with pymongo.timeout(TIMEOUT_SECONDS):
                self._learn(await self._records.find_one({"_id": self._name}, _BEFORE))
        except PyMongoError as error:
            log.debug("consumer name not looked up", reason=str(causes.explain(error)))

    def _learn(self, found: Document | None) -> None:
        """From the record as somebody has left it."""
        if self.shared or not found or "seen_at" not in found:
            return
        if self._on_record:  # somebody else has written it since
            self.shared = any(found.get(name) != self._about[name] for name in ("host", "pid", "process"))
        else:
            self.shared = bool(found["lately"]) and _runs_elsewhere(found, self._about)
        if self.shared:
            where = {name: printable(str(found.get(name))) for name in ("host", "pid")}
            log.error("consumer name used twice", consumer=self._name, **where)

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
        if await self._write(change):
            return
        # An upsert could not use the server's time, and an insert would make a collection that `outbox init` has not.
        if not await self._database.list_collection_names(filter={"name": self._records.name}):
            raise NotThere
        with suppress(DuplicateKeyError):
            await self._records.insert_one({"_id": self._name})
        await self._write(change)

    async def _write(self, change: list[Document]) -> bool:
        """False: there is no record. One step, so that of two processes of one name each sees the other."""
        since = {"$subtract": ["$$NOW", int(LATELY * EVERY_SECONDS * 1000)]}
        lately = {"lately": {"$gt": ["$seen_at", since]}}  # what is no date comes before all dates
        found = await self._records.find_one_and_update({"_id": self._name}, change, {**_BEFORE, **lately})
        self._learn(found)
        self._on_record = self._on_record or found is not None
        return found is not None


_BEFORE = {"host": 1, "pid": 1, "process": 1, "seen_at": 1}


def _runs_elsewhere(found: Document, own: Document) -> bool:
    if found.get("host") != own["host"]:
        return True
    pid = found.get("pid")
    if pid == own["pid"] or not isinstance(pid, int) or pid < 1:
        return False  # this one before it was started again: in a container, every process has the same number
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):  # there is none, or no process can have this number
        return False
    return True


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

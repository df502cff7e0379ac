"""Leases: the time-bound right to drain a partition, and the list of live relays for the fair share.

All times are the server's. A relay's own trust in a lease is shorter, and counted by its monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import pymongo
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, NetworkTimeout, PyMongoError

from outbox.errors import LookAgain, OutboxError
from outbox.schema import PARTITIONS, RELAYS, Database, Document
from outbox.streams import Partition, Streams

WINDOW = 0.3
"""The part of a lease's time, from the proof that it is held, in which a write to messages must begin, and the longest
that it may take from then on: so it has ended before the lease can pass on."""


class TooLate(NetworkTimeout):
    """A write to messages came so late that it may have done nothing: an outage, although the server answers."""


class LeaseLost(OutboxError):
    """Another owner has the partition, so that nothing may be written for it any more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A partition under one owner and token."""

    partition: Partition
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a partition stands: its last batch's number and tag.

    In MongoDB, number 0 says that this is not known: nothing was ever published, or a recovery is under way, whose tag
    this is then.
    """

    batch: int
    tag: str


@dataclass(frozen=True, slots=True)
class Held:
    """Proof that a lease was held a moment ago, and until when, by the server's clock, its owner may begin to write.

    `asked` and `answered` are when the proof was asked for and came, by this machine's monotonic clock.
    """

    lease: Lease
    progress: Progress
    until: datetime
    window: float
    asked: float
    answered: float

    def in_time(self) -> Document:
        """A condition for every write to messages under the lease.

        A message does not know its partition's token, so an owner that slept between asking for the lease and writing
        would mark, or take back, what the next owner has dealt with. With this condition its write, arriving late,
        matches nothing.
        """
        return {"$expr": {"$lt": ["$$NOW", self.until]}}

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Around such writes. Raises TooLate when one may have matched nothing for that reason alone.

        One that failed may still be on its way. Carried out after its owner has looked again, it would mark what was
        found to be lost. So the error is raised only when it can no longer happen, at most twice the window later.
        """
        try:
            with pymongo.timeout(self.window):
                yield
        except PyMongoError:
            await asyncio.sleep(self.answered + 2 * self.window - time.monotonic())
            raise
        if time.monotonic() - self.asked >= self.window:
            raise TooLate(
                f"{self.lease.partition}: a write to messages came more than {self.window:g} s after its proof, "
                "and perhaps too late. If this goes on, raise RELAY_LEASE_SECONDS"
            )


@dataclass(frozen=True, slots=True)
class Overview:
    """What a relay sees when it looks around: its own leases, what is free, and who else is alive."""

    held: frozenset[Lease]
    free: tuple[Partition, ...]
    partitions: int
    relays: tuple[str, ...]


class Leases:
    """The statements on leases and relays of one owner, whose name is new with each start of a relay."""

    def __init__(self, database: Database, streams: Streams, owner: str, *, seconds: float) -> None:
        self._partitions = database[PARTITIONS]
        self._relays = database[RELAYS]
        self._streams = streams
        self._owner = owner
        self._milliseconds = int(seconds * 1000)

    async def renew(self, about: Document) -> Overview:
        """Prolong all that this owner holds, show that it is alive, and look around.

        Never takes back a lease that has passed to another owner. One that has merely expired is prolonged: nobody has
        asked for it.
        """
        alive = [{"$set": {**about, "expires_at": self._expiry()}}]
        if not (await self._relays.update_one({"_id": self._owner}, alive)).matched_count:
            # An upsert could not use the server's time. A repeated insert, whose first reply was lost, finds itself.
            with suppress(DuplicateKeyError):
                await self._relays.insert_one({"_id": self._owner, "expires_at": None})
            await self._relays.update_one({"_id": self._owner}, alive)
        await self._partitions.update_many({"owner": self._owner}, [{"$set": {"expires_at": self._expiry()}}])
        return await self._overview()

    async def _overview(self) -> Overview:
        held, free, partitions = set(), [], 0
        # Itself in any case: on a slow network, or after a pause, its own record may have run out since it was renewed.
        relays = {self._owner}
        declared = {"$match": {"stream": {"$in": list(self._streams)}}}
        async for lease in await self._partitions.aggregate([declared, _EXPIRED, _AND_RELAYS]):
            if "relay" in lease:
                relays.add(lease["relay"])
                continue
            partition = Partition(lease["stream"], lease["number"])
            partitions += 1
            if lease["owner"] == self._owner:
                held.add(Lease(partition, self._owner, lease["token"]))
            elif lease["owner"] is None or lease["expired"]:
                free.append(partition)
        return Overview(frozenset(held), tuple(free), partitions, tuple(sorted(relays)))

    async def acquire(self, partition: Partition) -> Lease | None:
        """Take a free or expired partition under the next token. None: another relay was faster."""
        taken = await self._partitions.find_one_and_update(
            {
                "_id": str(partition),
                "$or": [{"owner": None}, {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}],
            },
            [
                {
                    "$set": {
                        "owner": self._owner,
                        "token": {"$add": ["$token", 1]},
                        "expires_at": self._expiry(),
                    }
                }
            ],
            return_document=ReturnDocument.AFTER,
        )
        return Lease(partition, self._owner, taken["token"]) if taken else None

    async def hold(
        self,
        lease: Lease,
        session: AsyncClientSession,
        reached: Progress | None = None,
        *,
        after: Progress | None = None,
    ) -> Held:
        """Prolong `lease` if it is still held, and with `reached` let it go on to there from where it was `after`.

        Raises LeaseLost; or LookAgain when the lease stands elsewhere: a request that its owner gave up came late.

        A write also when it only asks: right after a failover a read could return what the new primary had heard so
        far, while every later read in `session` is at least as new as this write.
        """
        values = {"expires_at": self._expiry()}
        if reached and after:
            there = {"$and": [{"$eq": ["$batch", after.batch]}, {"$eq": ["$tag", {"$literal": after.tag}]}]}
            values |= {
                "batch": {"$cond": [there, {"$literal": reached.batch}, "$batch"]},
                "tag": {"$cond": [there, {"$literal": reached.tag}, "$tag"]},
            }
        asked = time.monotonic()
        found = await self._partitions.find_one_and_update(
            _held(lease), [{"$set": values}], session=session, return_document=ReturnDocument.AFTER
        )
        answered = time.monotonic()
        if found is None:
            raise LeaseLost(f"{lease.partition}: token {lease.token} has been superseded")
        progress = Progress(found["batch"], found["tag"])
        if reached and progress != reached:
            raise LookAgain(f"{lease.partition}: the lease stands at batch {progress.batch}, not where it was left")
        window = self._milliseconds * WINDOW / 1000
        until = found["expires_at"] - timedelta(milliseconds=self._milliseconds) + timedelta(seconds=window)
        return Held(lease, progress, until, window, asked, answered)

    async def overtake(self, lease: Lease, *, above: int) -> bool:
        """Let a held lease go on under a token higher than `above`. False: it is no longer held."""
        result = await self._partitions.update_one(_held(lease), {"$set": {"token": above + 1}})
        return bool(result.modified_count)

    async def release(self, leases: Iterable[Lease]) -> None:
        """Give partitions back, so that another relay can take them at once."""
        if held := [_held(lease) for lease in leases]:
            await self._partitions.update_many({"$or": held}, {"$set": {"owner": None, "expires_at": None}})

    async def leave(self) -> None:
        """Take this relay off the list, so that the others share its partitions at once."""
        await self._relays.delete_one({"_id": self._owner})

    def _expiry(self) -> Document:
        return {"$add": ["$$NOW", self._milliseconds]}


_EXPIRED: Document = {"$set": {"expired": {"$lte": ["$expires_at", "$$NOW"]}}}
_ALIVE: list[Document] = [_EXPIRED, {"$match": {"expired": False}}, {"$project": {"_id": 0, "relay": "$_id"}}]
_AND_RELAYS: Document = {"$unionWith": {"coll": RELAYS, "pipeline": _ALIVE}}


def _held(lease: Lease) -> Document:
    return {"_id": str(lease.partition), "token": lease.token, "owner": lease.owner}

"""Leases: the time-bound right to drain a partition, and the list of live relays for the fair share.

All times are the server's. A relay's own trust in a lease is shorter, and counted by its monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import pymongo
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from outbox.errors import OutboxError
from outbox.schema import PARTITIONS, RELAYS, Database, Document
from outbox.streams import Partition, Streams

MARGIN = 0.2
"""The part of a lease's time, at its end, in which no write to messages begins any more and the last one ends."""


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
    """The last batch that MongoDB knows of in a partition."""

    batch: int
    tag: str


@dataclass(frozen=True, slots=True)
class Held:
    """Proof that a lease was held a moment ago, and until when its owner may write to messages.

    `until` is a time of the server's clock, some `margin` (seconds) before the lease ends.
    """

    lease: Lease
    progress: Progress
    until: datetime
    margin: float

    def in_time(self) -> Document:
        """A condition for every write to messages under the lease.

        A message does not know its partition's token, so an owner that slept between asking for the lease and writing
        would mark, or take back, what the next owner has dealt with. With this condition its write, arriving late,
        matches nothing: the lease can only pass on after `until` by the same clock.
        """
        return {"$expr": {"$lt": ["$$NOW", self.until]}}

    def no_longer(self) -> AbstractContextManager[None]:
        """The time that such a write may take: begun before `until`, it has ended before the lease does."""
        return pymongo.timeout(self.margin)


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
        declared = {"$match": {"stream": {"$in": list(self._streams)}}}
        async for lease in await self._partitions.aggregate([declared, _EXPIRED]):
            partition = Partition(lease["stream"], lease["number"])
            partitions += 1
            if lease["owner"] == self._owner:
                held.add(Lease(partition, self._owner, lease["token"]))
            elif lease["owner"] is None or lease["expired"]:
                free.append(partition)
        alive = await self._relays.aggregate([_EXPIRED, {"$match": {"expired": False}}])
        # Itself in any case: on a slow network, or after a pause, its own record may have run out since it was renewed.
        relays = {relay["_id"] async for relay in alive} | {self._owner}
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

    async def hold(self, lease: Lease, session: AsyncClientSession, reached: Progress | None = None) -> Held:
        """Prolong `lease`, and record the progress `reached` on it, if and only if it is still held. Raises LeaseLost.

        A write also when it only asks: right after a failover a read could return what the new primary had heard so
        far, while every later read in `session` is at least as new as this write.
        """
        values = {"expires_at": self._expiry()}
        if reached:
            values |= {"batch": {"$literal": reached.batch}, "tag": {"$literal": reached.tag}}
        found = await self._partitions.find_one_and_update(
            _held(lease), [{"$set": values}], session=session, return_document=ReturnDocument.AFTER
        )
        if found is None:
            raise LeaseLost(f"{lease.partition}: token {lease.token} has been superseded")
        margin = self._milliseconds * MARGIN / 1000
        until = found["expires_at"] - timedelta(seconds=margin)
        return Held(lease, Progress(found["batch"], found["tag"]), until, margin)

    async def overtake(self, lease: Lease, *, above: int) -> bool:
        """Let a held lease go on under a token higher than `above`. False: it is no longer held."""
        result = await self._partitions.update_one(_held(lease), {"$set": {"token": above + 1}})
        return bool(result.modified_count)

    async def release(self, leases: Iterable[Lease]) -> None:
        """Give partitions back, so that another relay can take them at once."""
        for lease in leases:
            await self._partitions.update_one(
                {"_id": str(lease.partition), "owner": lease.owner, "token": lease.token},
                {"$set": {"owner": None, "expires_at": None}},
            )

    async def leave(self) -> None:
        """Take this relay off the list, so that the others share its partitions at once."""
        await self._relays.delete_one({"_id": self._owner})

    def _expiry(self) -> Document:
        return {"$add": ["$$NOW", self._milliseconds]}


_EXPIRED: Document = {"$set": {"expired": {"$lte": ["$expires_at", "$$NOW"]}}}


def _held(lease: Lease) -> Document:
    return {"_id": str(lease.partition), "token": lease.token, "owner": lease.owner}

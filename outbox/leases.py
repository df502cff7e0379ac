"""Leases: the time-bound right to drain a partition, and the list of live relays for the fair share.

All times are the server's. A relay's own trust in a lease is shorter, and counted by its monotonic clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import pymongo
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from outbox.errors import OutboxError
from outbox.schema import PARTITIONS, RELAYS, Database, Document
from outbox.streams import Partition, Streams

T = TypeVar("T")

TRANSACTION_SECONDS = 20
"""How long the driver may repeat a transaction before its outcome is looked up instead."""


class LeaseLost(OutboxError):
    """Another owner has the partition, so that nothing may be written for it any more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A partition under one owner and token."""

    partition: Partition
    owner: str
    token: int


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
        relays = [relay["_id"] async for relay in alive]
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


@dataclass(frozen=True, slots=True)
class Progress:
    """The last batch that MongoDB knows of in a partition."""

    batch: int
    tag: str


async def progress(database: Database, lease: Lease, session: AsyncClientSession) -> Progress:
    """Where MongoDB stands in the lease's partition. Raises LeaseLost.

    A write, although it only asks: right after a failover, a read could return what the new primary had heard so far,
    and every later read in `session` is at least as new as this write.
    """
    found = await database[PARTITIONS].find_one_and_update(
        _held(lease), {"$inc": {"writes": 1}}, session=session, return_document=ReturnDocument.AFTER
    )
    if found is None:
        raise LeaseLost(f"{lease.partition}: token {lease.token} has been superseded")
    return Progress(found["batch"], found["tag"])


async def under_lease(
    database: Database,
    lease: Lease,
    session: AsyncClientSession,
    body: Callable[[AsyncClientSession], Awaitable[T]],
    *,
    reached: Progress | None = None,
) -> T:
    """Run `body` in one transaction that commits only while the lease is held, and record the progress `reached`.

    Without the write to the lease (a read would not do), an owner that slept past it could still commit, and would mark
    or take back messages that the next owner has dealt with. Raises LeaseLost, and then nothing is written. After any
    other error the transaction may have happened: ask `progress`.
    """
    values = {"$set": {"batch": reached.batch, "tag": reached.tag}} if reached else {}

    async def fenced(session: AsyncClientSession) -> T:
        # The counter makes it a real write each time: one that changes nothing would conflict with nobody's.
        held = await database[PARTITIONS].update_one(_held(lease), {**values, "$inc": {"writes": 1}}, session=session)
        if not held.matched_count:
            raise LeaseLost(f"{lease.partition}: token {lease.token} has been superseded")
        return await body(session)

    with pymongo.timeout(TRANSACTION_SECONDS):
        return await session.with_transaction(
            fenced, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
        )


def _held(lease: Lease) -> Document:
    return {"_id": str(lease.partition), "token": lease.token, "owner": lease.owner}

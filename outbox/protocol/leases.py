"""Leases: the time-bound right to drain a partition, and the list of live relays for the fair share.

All times are the server's. A relay's own trust in a lease is shorter, and counted by its monotonic clock. No promise
rests on either: clocks may step, and hosts be suspended. They only decide when a partition passes on; that an owner
whose time is over changes nothing is what tokens and fences are for (outbox.protocol.fences).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress

from bson import ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from outbox.database import PARTITIONS, RELAYS, Database, Document
from outbox.errors import LookAgain, OutboxError
from outbox.protocol import fences, records
from outbox.protocol.held import Held, Lease, Overview, Progress, Sign, Step
from outbox.streams.declaration import Partition, Streams

__all__ = ["Held", "Lease", "LeaseLost", "Leases", "Overview", "Progress", "Sign", "Step"]

MOST_LEASE_SECONDS = 3600.0
"""For longer than this no relay's leases count, whatever its record says: others may write anything there, and who died
while the server's clock was set back would keep its partitions for as long."""


class LeaseLost(OutboxError):
    """Another owner has the partition, so that nothing may be written for it any more."""


class Leases:
    """The statements on leases and relays of one owner, whose name is new with each start of a relay.

    It sees and takes all partitions of `streams`, which may change meanwhile, whatever their number.
    """

    def __init__(self, database: Database, streams: Streams, owner: str, *, seconds: float) -> None:
        self._partitions = database[PARTITIONS]
        self._relays = database[RELAYS]
        self.streams = streams
        self._owner = owner
        self._milliseconds = int(seconds * 1000)

    async def renew(self, about: Document, *, leaving: bool = False) -> Overview:
        """Prolong all that this owner holds, show that it is alive and what it knows of the streams, and look around.

        One that is `leaving` drains none any more, so that the others take each partition as soon as it is given back.

        Never takes back a lease that has passed to another owner. One that has merely expired is prolonged: nobody has
        asked for it.
        """
        drains = [] if leaving else list(self.streams)
        revisions = [{"stream": name, "revision": number} for name, number in self.streams.revisions.items()]
        said: Document = {name: {"$literal": value} for name, value in about.items()}
        said |= {"lease_seconds": self._milliseconds / 1000}  # others know by it how often there is a sign of life
        alive = [{"$set": {**said, "streams": drains, "revisions": revisions, "expires_at": self._expiry()}}]
        if not (await self._relays.update_one({"_id": self._owner}, alive)).matched_count:
            # An upsert could not use the server's time. A repeated insert, whose first reply was lost, finds itself.
            with suppress(DuplicateKeyError):
                await self._relays.insert_one({"_id": self._owner, "expires_at": None})
            await self._relays.update_one({"_id": self._owner}, alive)
        await self._partitions.update_many({"owner": self._owner}, [{"$set": {"expires_at": self._expiry()}}])
        return await self._overview(drains)

    async def _overview(self, drains: Iterable[str]) -> Overview:
        held, free = set(), list[Partition]()
        partitions, holds = Counter[str](), defaultdict[str, set[str]](set)
        signs: dict[Partition | str, Sign] = {}
        seconds: dict[str, float] = {}
        # Itself in any case: on a slow network, or after a pause, its own record may have run out since it was renewed.
        relays: dict[str, Iterable[str] | None] = {self._owner: drains}
        and_relays = {"$unionWith": {"coll": self._relays.name, "pipeline": _ALIVE}}
        declared = {"$match": {"stream": {"$in": list(self.streams)}, "$expr": records.SOUND_LEASE}}
        async for lease in await self._partitions.aggregate([declared, _SEEN, _EXPIRED, and_relays]):
            if "relay" in lease:
                if lease["relay"] != self._owner:
                    relays[lease["relay"]] = lease.get("streams")
                    signs[lease["relay"]] = Sign(lease["relay"], 0, lease["expires_at"])
                    seconds[lease["relay"]] = lease["seconds"]
                continue
            partition = Partition(lease["stream"], lease["number"])
            partitions[partition.stream] += 1
            holds[lease["owner"]].add(partition.stream)
            if lease["owner"] == self._owner:
                held.add(Lease(partition, self._owner, lease["token"]))
            elif lease["owner"] is None or lease["expired"]:
                free.append(partition)
            else:
                signs[partition] = Sign(lease["owner"], lease["token"], lease["expires_at"])
        # A relay of the version before does not say what it drains: at least those of which it holds a partition.
        known = {name: frozenset(holds[name] if streams is None else streams) for name, streams in relays.items()}
        return Overview(frozenset(held), tuple(free), partitions, known, signs, seconds)

    async def acquire(self, partition: Partition, silent: Sign | None = None) -> Lease | None:
        """Take a free or expired partition under the next token. None: another relay was faster.

        :param silent: also a lease that has not run out by the server's clock, which may have been set back, if this is
            still its latest sign of life.
        """
        free: list[Document] = [{"owner": None}, {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}]
        if silent:
            free.append({"owner": silent.owner, "token": silent.token, "expires_at": silent.expires_at})
        taken = await self._partitions.find_one_and_update(
            {"_id": str(partition), "$or": free},
            [
                {
                    "$set": {
                        "owner": self._owner,
                        "token": {"$add": ["$token", 1]},
                        "expires_at": self._expiry(),
                    }
                }
            ],
            projection={"token": 1},
            return_document=ReturnDocument.AFTER,
        )
        return Lease(partition, self._owner, taken["token"]) if taken else None

    async def begin_anew(self, lease: Lease, session: AsyncClientSession, *, above: int = 0) -> Lease:
        """The lease under a new token, higher than its own and than `above`.

        Whatever was sent under the old one and is still on its way does nothing any more once the partition is opened
        under the new one and the intent is fenced. Raises LeaseLost, also when an earlier call was carried out whose
        reply was lost.
        """
        found = await self._partitions.find_one_and_update(
            _held(lease),
            [{"$set": {"token": {"$add": [{"$max": ["$token", above]}, 1]}, "expires_at": self._expiry()}}],
            projection={"token": 1},
            session=session,
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            raise _lost(lease)
        return Lease(lease.partition, lease.owner, found["token"])

    async def take_up(self, lease: Lease, session: AsyncClientSession) -> tuple[Held, list[ObjectId]]:
        """Prolong `lease`; also what the latest write to messages was about, under this token or an earlier one.

        Raises LeaseLost.
        """
        found = await self._partitions.find_one_and_update(
            _held(lease),
            [{"$set": {"expires_at": self._expiry()}}],
            projection={**_PROGRESS, "intent": 1},
            session=session,
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            raise _lost(lease)
        return Held(lease, Progress(found["batch"], found["tag"])), fences.unpack(found.get("intent"))

    async def check(self, lease: Lease, session: AsyncClientSession) -> None:
        """Raise LeaseLost unless the lease was held when the latest read in `session` was made.

        A read, which costs less than the write of `hold`: it is at least as new as that one, and a token that has risen
        never comes back.
        """
        if await self._partitions.find_one(_held(lease), {"_id": 1}, session=session) is None:
            raise _lost(lease)

    async def hold(
        self,
        lease: Lease,
        session: AsyncClientSession,
        reached: Progress | None = None,
        *,
        after: Progress | None = None,
        intent: Iterable[ObjectId] | None = None,
    ) -> Held:
        """Prolong `lease` if it is still held, and with `reached` let it go on to there from where it was `after`.

        With `intent`, record which messages are written to next; what was written before must have been answered.

        Raises LeaseLost; or LookAgain when the lease stands elsewhere: a request that its owner gave up came late.

        A write also when it only asks: right after a failover a read could return what the new primary had heard so
        far, while every later read in `session` is at least as new as this write.
        """
        values: Document = {"expires_at": self._expiry()}
        if reached and after:
            there = {"$and": [{"$eq": ["$batch", after.batch]}, {"$eq": ["$tag", {"$literal": after.tag}]}]}
            values |= {
                "batch": {"$cond": [there, {"$literal": reached.batch}, "$batch"]},
                "tag": {"$cond": [there, {"$literal": reached.tag}, "$tag"]},
            }
        if intent is not None:
            values["intent"] = fences.pack(intent)
        found = await self._partitions.find_one_and_update(
            _held(lease),
            [{"$set": values}],
            projection=_PROGRESS,  # an intent may be large, and the one before is of no use here
            session=session,
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            raise _lost(lease)
        progress = Progress(found["batch"], found["tag"])
        if reached and progress != reached:
            raise LookAgain(f"{lease.partition}: the lease stands at batch {progress.batch}, not where it was left")
        return Held(lease, progress)

    async def advance(self, steps: Sequence[Step], session: AsyncClientSession) -> bool:
        """`hold` for several leases at once. False: not all of them are held, and where they were left.

        Some may have gone on all the same; `hold` may be called for each of them then.
        """
        writes = [
            UpdateOne(
                {**_held(step.lease), "batch": step.after.batch, "tag": step.after.tag},
                [
                    {
                        "$set": {
                            "expires_at": self._expiry(),
                            "batch": {"$literal": step.reached.batch},
                            "tag": {"$literal": step.reached.tag},
                            "intent": fences.pack(step.intent),
                        }
                    }
                ],
            )
            for step in steps
        ]
        return (await self._partitions.bulk_write(writes, ordered=False, session=session)).matched_count == len(steps)

    async def release(self, leases: Iterable[Lease]) -> None:
        """Give partitions back, so that another relay can take them at once. Under whichever token they are by now."""
        if mine := [{"_id": str(lease.partition), "owner": lease.owner} for lease in leases]:
            await self._partitions.update_many({"$or": mine}, {"$set": {"owner": None, "expires_at": None}})

    async def leave(self) -> None:
        """Take this relay off the list, so that the others share its partitions at once."""
        await self._relays.delete_one({"_id": self._owner})

    def _expiry(self) -> Document:
        return {"$add": ["$$NOW", self._milliseconds]}


_PROGRESS = {"batch": 1, "tag": 1}
_SEEN: Document = {"$project": {"stream": 1, "number": 1, "owner": 1, "token": 1, "expires_at": 1}}
_EXPIRED: Document = {"$set": {"expired": {"$lte": ["$expires_at", "$$NOW"]}}}
_BOUNDED = {"$max": [0, {"$min": [MOST_LEASE_SECONDS, "$lease_seconds"]}]}
_SECONDS: Document = {"$cond": [{"$isNumber": "$lease_seconds"}, {"$toDouble": _BOUNDED}, 0.0]}
_ALIVE: list[Document] = [
    _EXPIRED,
    {"$match": {"expired": False, "$expr": records.SOUND_RELAY}},
    {"$project": {"_id": 0, "relay": "$_id", "streams": 1, "expires_at": 1, "seconds": _SECONDS}},
]


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"{lease.partition}: token {lease.token} has been superseded")


def _held(lease: Lease) -> Document:
    return {"_id": str(lease.partition), "token": lease.token, "owner": lease.owner}

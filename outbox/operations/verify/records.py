"""Whether the records of the outbox can be read: those for operators, the registered streams, and the leases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outbox.database import AUDIT, HISTORY, JOBS, LENIENT, OUTAGES, PARTITIONS, RECOVERIES, Document
from outbox.operations import audit, downtime, history, job, recoveries
from outbox.operations.records import or_none
from outbox.operations.verify.findings import KEPT, Finding, System, named, number
from outbox.printable import printable
from outbox.protocol.records import SOUND_LEASE
from outbox.streams import known

READ: dict[str, Callable[[Document], Any]] = {
    AUDIT: audit.understood,
    HISTORY: history.understood,
    JOBS: job.Job.of,
    OUTAGES: downtime.understood,
    RECOVERIES: recoveries.understood,
}


async def records(system: System) -> list[Finding]:
    return [
        *await _streams(system),
        *await _leases(system),
        *[one for name in READ for one in await _unreadable(system, name)],
    ]


async def _streams(system: System) -> list[Finding]:
    return [
        Finding(
            "unreadable-stream", fault.what,
            "programs that append, publish or work do not start beside it, as a later version may have registered a "
            "stream by it; those that run go on with what they know",
            fault.do,
        )
        for fault in (await known.read(system.database)).faults
    ]  # fmt: skip


async def _leases(system: System) -> list[Finding]:
    names = [str(partition) for partition in system.streams.partitions()]
    leases = system.database[PARTITIONS].with_options(codec_options=LENIENT)
    found = leases.find({"_id": {"$in": names}, "$nor": [{"$expr": SOUND_LEASE}]}, {"_id": 1})
    return [
        Finding(
            "unreadable-lease", f"the lease of partition {lease['_id']} is not as a relay writes it",
            "no relay drains the partition, and its messages wait in MongoDB",
            f"delete it from {leases.name}, and run `outbox init`, which makes a new one", examples=(lease["_id"],),
        )
        async for lease in found
    ]  # fmt: skip


async def _unreadable(system: System, name: str) -> list[Finding]:
    collection = system.database[name].with_options(codec_options=LENIENT)
    ids = []
    async for document in collection.find():
        if or_none(READ[name], document) is None:
            ids.append(printable(str(document["_id"])))
            if len(ids) == KEPT:
                break
    if not ids:
        return []
    what = number(len(ids), "document is", "documents are")
    return [
        Finding(
            "unreadable-record", f"{what} in {collection.name} that the outbox cannot read",
            "others wrote or changed it, or a later version did. It is left out of what is shown, and an open job of "
            "this kind is not carried out",
            "look at it with mongosh, and delete it if nobody needs it", len(ids), named(ids),
        )
    ]  # fmt: skip

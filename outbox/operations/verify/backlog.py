"""Whether what should move does: pending and scheduled messages, strays, dead ones, relays."""

from __future__ import annotations

from datetime import timedelta

from outbox.database import OUTBOX
from outbox.message.document import State
from outbox.operations import stats, upkeep
from outbox.operations.counts import COUNTED
from outbox.operations.verify.findings import Finding, System, named, number
from outbox.protocol import records

STRAY = timedelta(minutes=2)
"""A relay buries strays every minute."""


async def relays(system: System) -> list[Finding]:
    status = await stats.collect(system.database, system.redis, system.streams)
    findings = []
    if not status.relays:
        findings.append(
            Finding(
                "no-relay", "no relay is running",
                "messages wait in MongoDB, nothing is published, and nobody notices what Redis loses",
                "outbox relay",
            )
        )  # fmt: skip
    goes_on = "what it should publish waits in MongoDB. Nothing is lost, and it goes on by itself"
    findings += [Finding("relay-waits", str(one), goes_on, one.do.rstrip(".")) for one in status.obstacles]
    age = status.oldest_pending_seconds
    if age is not None and age > system.pending.total_seconds():
        findings.append(
            Finding(
                "pending-old", f"a message has been pending for {age:.0f} s",
                "no relay holds its partition, Redis does not take what it is sent, or back-pressure holds it back "
                "until workers have caught up",
                "outbox status", count=status.messages[State.PENDING],
            )
        )  # fmt: skip
    return findings


async def overdue(system: System) -> list[Finding]:
    query = {"state": State.SCHEDULED.value, "available_at": {"$lt": system.settled}}
    count = await system.database[OUTBOX].count_documents(query, hint="scheduled", limit=COUNTED)
    if not count:
        return []
    return [
        Finding(
            "overdue", f"{_counted(count)} scheduled for a time that has passed",
            "a relay stages what is due every second: none does",
            "outbox relay", count=count, repair=lambda: upkeep.stage(system.database),
        )
    ]  # fmt: skip


async def strays(system: System) -> list[Finding]:
    old = {"created_at": {"$not": {"$gte": system.now - STRAY}}}
    count, found = 0, []
    for query in await upkeep.strays(system.database):
        count += await system.database[OUTBOX].count_documents({**query, **old}, limit=COUNTED)
        found += await system.database[OUTBOX].find({**query, **old}, {"_id": 1}).limit(10).to_list()
    if not count:
        return []
    return [
        Finding(
            "stray", f"{_counted(count)} pending for a stream and partition there is not",
            "nobody drains it. A relay makes such messages dead, with this reason, within a minute",
            "declare the stream in OUTBOX_STREAMS, run `outbox init`, then `outbox dead retry`",
            count, named(document["_id"] for document in found), lambda: upkeep.bury_strays(system.database),
        )
    ]  # fmt: skip


async def undeclared(system: System) -> list[Finding]:
    """Partitions that were declared once, with messages that no relay of today will drain."""
    declared = {str(partition) for partition in system.streams.partitions()}
    findings = []
    for partition in await records.partitions(system.database):
        if str(partition) in declared:
            continue
        pending = {"state": State.PENDING.value, "stream": partition.stream, "partition": partition.number}
        if count := await system.database[OUTBOX].count_documents(pending, hint="pending", limit=COUNTED):
            findings.append(
                Finding(
                    "undeclared", f"{_counted(count)} pending in {partition}, "
                    "which is not declared (any more)",
                    "relays drain what OUTBOX_STREAMS declares, and nothing else",
                    "declare the stream again, with as many partitions as it had, until it is empty", count,
                )
            )  # fmt: skip
    return findings


async def dead(system: System) -> list[Finding]:
    count = await system.database[OUTBOX].count_documents({"state": State.DEAD.value}, hint="dead", limit=COUNTED)
    if not count:
        return []
    return [
        Finding(
            "dead", f"{_counted(count)} dead",
            "it could not be sent, or its worker failed too often. The rest went on without it, and somebody has to "
            "decide",
            "outbox dead list, then `outbox dead retry ID` or `outbox dead discard ID`", count,
        )
    ]  # fmt: skip


def _counted(count: int) -> str:
    return f"{COUNTED:,} or more messages are" if count >= COUNTED else number(count, "message is", "messages are")

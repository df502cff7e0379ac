"""What MongoDB and Redis say of each partition: leases against checkpoints."""

from __future__ import annotations

import re
from typing import Any

from pymongo.errors import OperationFailure

from outbox.database import AUDIT, OUTBOX, PARTITIONS, Document
from outbox.message.document import State, is_ours
from outbox.operations.verify.findings import Finding, System
from outbox.printable import printable
from outbox.protocol.leases import Progress
from outbox.protocol.records import SOUND_LEASE
from outbox.protocol.tags import follows, read_tags
from outbox.servers.outages import Trouble, classify
from outbox.streams.declaration import Partition

MAX_BATCH = 10**15
"""Above what any relay comes to, and above what is taken for a checkpoint's number."""


async def checkpoints(system: System) -> list[Finding]:
    """Each suspicion is looked at once more: a relay puts most of these right by itself, within seconds."""
    suspects = [found for partition in system.streams.partitions() if (found := await _judge(system, partition))]
    if not suspects:
        return []
    await system.look_again()
    return [again[1] for partition, _ in suspects if (again := await _judge(system, partition))]


async def _judge(system: System, partition: Partition) -> tuple[Partition, Finding] | None:
    """The lease is read before the checkpoint and after it, so that a batch on its way looks innocent."""
    before = await _lease(system, partition)
    key = system.streams[partition.stream].checkpoint_key(partition.number)
    token, batch, tag, previous = await _read(system, key)
    after = await _lease(system, partition)
    if before is None or after is None:
        return None  # missing, or not a lease: other checks name it
    finding = None
    if batch < before["batch"]:
        finding = _finding(
            "redis-behind", partition, f"Redis stands at batch {batch}, and MongoDB at {before['batch']}",
            "Redis has lost data: it was restored, failed over to a replica that was behind, or its keys were deleted "
            "or overwritten. A relay publishes again what is still wanted of it, as soon as it looks",
        )  # fmt: skip
    elif batch > after["batch"] + 1 and not follows(batch, previous, Progress(after["batch"], after["tag"])):
        # A busy relay is several ahead: it marks them together, and the checkpoint names them until then.
        finding = _finding(
            "redis-ahead", partition, f"Redis stands at batch {batch}, and MongoDB at {after['batch']}",
            await _why_new(system, partition, after)
            or "MongoDB was restored from an older copy. Relays go on from Redis's number; what was appended since "
            "that copy is gone from MongoDB",
        )  # fmt: skip
    elif batch == before["batch"] == after["batch"] and tag != after["tag"] == before["tag"]:
        finding = _finding(
            "other-history", partition, f"batch {batch} is another one in Redis than in MongoDB",
            "Redis goes on from a replica or backup that parted from what MongoDB knows. A relay looks through the "
            "stream, and publishes what is wanted and not there",
        )  # fmt: skip
    elif token > after["token"]:
        finding = _finding(
            "token-ahead", partition, f"Redis knows the lease {token}, and MongoDB only {after['token']}",
            await _why_new(system, partition, after)
            or "MongoDB was restored from an older copy. Relays go on under a higher token",
        )  # fmt: skip
    elif above := await _above(system, partition, after):
        finding = _finding(
            "batch-above-lease", partition, f"message {above} is of a batch after the lease's",
            "the collection outbox_partitions is older than the messages: it was restored or edited by itself. A loss "
            "in Redis would not be noticed until the numbers have caught up",
            mend=f"look at it: outbox dead show {above}. If others wrote it, delete it from outbox; if relays "
            "published it and more of its batch, restore outbox and outbox_partitions together",
        )  # fmt: skip
    return (partition, finding) if finding else None


def _finding(
    check: str, partition: Partition, what: str, means: str, mend: str = "outbox relay, unless one is running"
) -> Finding:
    return Finding(check, f"{partition}: {what}", means, mend, examples=(str(partition),))


async def _lease(system: System, partition: Partition) -> Document | None:
    return await system.database[PARTITIONS].find_one({"_id": str(partition), "$expr": SOUND_LEASE})


async def _read(system: System, key: str) -> tuple[int, int, str, tuple[str, ...]]:
    redis: Any = system.redis
    token, batch, tag, previous = await redis.hmget(key, ["token", "batch", "tag", "previous"])
    return _number(token), _number(batch), printable(tag or ""), read_tags(printable(previous or ""))


async def _why_new(system: System, partition: Partition, lease: Document) -> str | None:
    """What it means that nothing was ever published under this lease, if operators have taken an earlier one away."""
    if lease["batch"]:
        return None
    taken = {"action": {"$in": ["remove-stream", "change-stream"]}}
    try:
        found = (
            system.database[AUDIT].find({**taken, "details.stream": system.streams[partition.stream].family}).limit(1)
        )
        if await anext(aiter(found), None) is None:
            return None
    except OperationFailure as error:  # who may not read the audit, is told of the worse case
        if classify(error) is Trouble.OUTAGE:
            raise
        return None
    return (
        "the stream was removed, or changed, and registered again (`outbox audit`), and Redis still has its old "
        "checkpoint: then nothing is lost, and relays go on from Redis's numbers. If MongoDB was restored from an "
        "older copy besides, what was appended since that copy is gone"
    )


def _number(text: str | None) -> int:
    """0 also for what is none: a relay, too, takes a checkpoint that none has written so for lost."""
    return int(text) if text and re.fullmatch("[0-9]{1,15}", text) else 0


async def _above(system: System, partition: Partition, lease: Document) -> Any:
    # Numbers that a relay can have given: what others wrote would lead to a harmful restore.
    after = {"$gt": lease["batch"], "$lt": MAX_BATCH, "$type": ["int", "long"]}
    query = {
        "state": State.PUBLISHED.value, "stream": partition.stream, "partition": partition.number, "batch": after,
    }  # fmt: skip
    fields = {"key": 1, "attempts": 1, "entries": 1, "batch": 1}
    messages = system.database[OUTBOX].find(query, fields)
    found = await anext((message async for message in messages if is_ours(message)), None)
    # Read after the message: the lease takes a batch's number before any of its messages does.
    lease = await _lease(system, partition) or lease
    return found["_id"] if found and found["batch"] > lease["batch"] else None

"""Verify: look through the whole live system for what is not as it should be, in bounded memory.

A check is a function from a `System` to findings. Nothing is changed by looking; `mending` does what a finding can
repair.
"""

from __future__ import annotations

from collections.abc import Callable

from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from outbox.operations.verify import (
    about_nothing,
    backlog,
    buried,
    entries,
    groups,
    others,
    partitions,
    records,
    setup,
    subjects,
)
from outbox.operations.verify.findings import Check, Finding, System, is_away, not_checked

__all__ = ["CHECKS", "NOTHING_MORE", "Check", "Finding", "System", "by_check", "look", "verify"]

CHECKS: dict[str, Check] = {
    "MongoDB is a replica set": setup.replica_set,
    "collections, validator, indexes, partitions": setup.database,
    "nobody else deletes from the collections": setup.additions,
    "the streams belong to this outbox": setup.streams,
    "the oplog reaches back far enough": setup.oplog,
    "retention covers the backups": setup.retention,
    "Redis drops nothing when it is full": setup.redis_memory,
    "Redis keeps an append-only file": setup.redis_files,
    "relays run, and nothing has been pending for long": backlog.relays,
    "scheduled messages are staged": backlog.overdue,
    "pending messages have a partition": backlog.strays,
    "their streams are declared": backlog.undeclared,
    "no message is dead": backlog.dead,
    "leases and checkpoints agree": partitions.checkpoints,
    "what is kept for operators can be read": records.records,
    "subjects are as declared": subjects.subjects_are_as_declared,
    "who waits has a message": subjects.subjects_wait_for_a_message,
    "messages are about something": about_nothing.messages_have_a_subject,
    "nobody waits for a dead message": buried.dead_keep_nobody_waiting,
    "published messages are in the stream, until they are done": entries.entries,
    "entries of others can be messages": others.entries_of_others,
    "somebody reads the streams": groups.groups,
}

NOTHING_MORE = frozenset({"replica-set", "schema", "foreign-stream"})
"""With one of these, other checks could not be made, or would only tell of it again."""


async def verify(system: System, *, progress: Callable[[str, int], None] = lambda *_: None) -> list[Finding]:
    """All findings. `progress` gets the check that begins and how many are done.

    Raises that a server is away; that it refuses something, or a part of a cluster of Redis is away, is a finding, and
    the other checks go on.
    """
    found = await by_check(system, progress=progress)
    return [finding for findings in found.values() for finding in findings]


async def by_check(
    system: System, *, progress: Callable[[str, int], None] = lambda *_: None
) -> dict[str, list[Finding]]:
    """The same, by the titles of the checks that were made."""
    found: dict[str, list[Finding]] = {}
    for done, title in enumerate(CHECKS):
        progress(title, done)
        found[title] = await look(system, title)
        if any(finding.check in NOTHING_MORE for finding in found[title]):
            break
    return found


async def look(system: System, title: str) -> list[Finding]:
    """The findings of one check. Raises as `verify` does."""
    try:
        return await CHECKS[title](system)
    except (PyMongoError, RedisError) as error:
        if is_away(system, error):
            raise
        return [not_checked(title, error)]

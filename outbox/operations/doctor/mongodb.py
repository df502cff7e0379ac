"""The MongoDB: its version, its members, and what it counts as written."""

from __future__ import annotations

from typing import Any

from pymongo.errors import OperationFailure

from outbox.operations.doctor import addresses
from outbox.operations.doctor.findings import Finding, Level, Surroundings

LEAST, TRIED = (5, 0), (6, 0)
FULL = 0.9


async def version(at: Surroundings) -> list[Finding]:
    info = await at.mongo.admin.command("buildInfo")
    found = tuple(info["versionArray"][:2])
    if found >= TRIED:
        return []
    level = Level.WARNING if found >= LEAST else Level.DANGER
    return [
        Finding(
            "mongodb-version", level, f"MongoDB is {info['version']}",
            "the outbox is tested on 6.0 and later. Before 5.0 there is no snapshot read, by which the order of a key "
            "is kept",
            "upgrade MongoDB to 6.0 or later",
        )
    ]  # fmt: skip


async def journal(at: Surroundings) -> list[Finding]:
    """What a majority has acknowledged must be on its disks."""
    try:
        config = (await at.mongo.admin.command("replSetGetConfig"))["config"]
    except OperationFailure:  # no permission, or a mongos: whoever runs it looks after it
        return []
    if config.get("writeConcernMajorityJournalDefault", True):
        return []
    return [
        Finding(
            "majority-journal", Level.DANGER, "the replica set has writeConcernMajorityJournalDefault: false",
            "w=majority is then acknowledged from memory: when a majority loses its power together, committed messages "
            "are gone, and some of them may have been published",
            "rs.reconfig() with writeConcernMajorityJournalDefault: true",
        )
    ]  # fmt: skip


async def default_write_concern(at: Surroundings) -> list[Finding]:
    try:
        defaults = await at.mongo.admin.command("getDefaultRWConcern")
    except OperationFailure:
        return []
    w = (defaults.get("defaultWriteConcern") or {}).get("w")
    if not isinstance(w, int) or isinstance(w, bool) or w > 1:
        return []
    return [
        Finding(
            "default-write-concern", Level.DANGER, f"MongoDB's default write concern is w: {w}",
            "a client of your application that names none commits with it: a failover can take back what it was told "
            "is committed, its message included. The outbox's own programs use w=majority all the same",
            'mongosh --eval \'db.adminCommand({setDefaultRWConcern: 1, defaultWriteConcern: {w: "majority"}})\'',
        )
    ]  # fmt: skip


async def members(at: Surroundings) -> list[Finding]:
    hello = await at.mongo.admin.command("hello")
    data, arbiters = len(hello.get("hosts", ())) + len(hello.get("passives", ())), len(hello.get("arbiters", ()))
    if arbiters:
        return [
            Finding(
                "arbiters", Level.WARNING, f"the replica set has {data} members with data and {arbiters} without",
                "while one with data is away, no majority has a new write: uploads wait, and change streams stand "
                "still",
                "replace arbiters by members with data, so that there are three",
            )
        ]  # fmt: skip
    if data >= 3 or "setName" not in hello:
        return []
    return [
        Finding(
            "members", Level.ADVICE, f"the replica set has {data} member{'s' if data > 1 else ''}",
            "while one of them is away there are no uploads, and with the last disk all messages are lost",
            "add members until there are three: rs.add()",
        )
    ]  # fmt: skip


async def disk(at: Surroundings) -> list[Finding]:
    try:
        stats: dict[str, Any] = await at.database.command("dbStats")
    except OperationFailure:
        return []
    used, total = stats.get("fsUsedSize"), stats.get("fsTotalSize")
    if not used or not total or used < FULL * total:
        return []
    return [
        Finding(
            "disk", Level.WARNING, f"MongoDB's disk is {used / total:.0%} full",
            "the backlog of an outage of Redis waits there; when it is full, uploads are refused",
            "make room, or give it a larger disk",
        )
    ]  # fmt: skip


async def authentication(at: Surroundings) -> list[Finding]:
    if addresses.is_local(at.settings, "MongoDB"):
        return []
    status = await at.mongo.admin.command("connectionStatus")
    if status["authInfo"]["authenticatedUsers"]:
        return []
    return [
        Finding(
            "mongodb-without-user", Level.WARNING, "MongoDB is used without a user",
            "whoever reaches it can read and change messages",
            "turn authorization on, create the users of docs/security.md, and put one into MONGODB_URI",
        )
    ]  # fmt: skip

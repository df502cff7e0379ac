"""Whether both servers are set up so that the guarantees hold."""

from __future__ import annotations

from datetime import timedelta

from pymongo.errors import OperationFailure

from outbox.errors import SchemaError
from outbox.message import additions as added
from outbox.message import installation, schema
from outbox.operations import applications
from outbox.operations.verify.findings import Finding, System
from outbox.protocol.ownership import own, refused
from outbox.servers import eviction
from outbox.servers.topology import primaries

OPLOG_HOURS = 24
FULL = 0.9


async def replica_set(system: System) -> list[Finding]:
    hello = await system.database.command("hello")
    if "setName" in hello or hello.get("msg") == "isdbgrid":
        return []
    return [
        Finding(
            "replica-set", "MongoDB is no replica set",
            "without one it has no transactions: every upload is refused",
            "start mongod with --replSet rs0 and run rs.initiate() once; one member is enough",
        )
    ]  # fmt: skip


async def database(system: System) -> list[Finding]:
    parts = await applications.set_up_here(system.database)
    try:
        await schema.check(system.database, system.streams, *parts)
    except SchemaError as error:

        async def ensure() -> int:
            return len(await schema.ensure(system.database, system.streams, *parts))

        # Where nothing is at all, it may be another database: a second outbox in it would hide that.
        there, known = await installation.look(system.database, (schema.CORE, *parts))
        nothing = known.identity is None and all(found.options is None for found in there)
        what, _, run = str(error).partition(". Run: ")
        return [
            Finding(
                "schema", what,
                "without an index the relay reads the whole outbox; without the validator what cannot be sent gets in; "
                "a partition that is missing is drained by nobody",
                run or "outbox init", repair=None if nothing else ensure,
            )
        ]  # fmt: skip
    return []


async def additions(system: System) -> list[Finding]:
    """What others have added to the outbox's collections, and by which MongoDB deletes or mixes up documents."""
    parts = (schema.CORE, *await applications.set_up_here(system.database))
    return [
        Finding(
            "schema-additions", what,
            "messages that wait are deleted by MongoDB, and reach nobody; or one message is taken for another",
            "db.COLLECTION.dropIndex('INDEX') in mongosh; of a collection, only a new one gets rid of it: stop all "
            "programs of the outbox, rename it, run outbox init, and copy the documents back",
        )
        for what in await added.look(system.database, parts)
    ]  # fmt: skip


async def streams(system: System) -> list[Finding]:
    """Whose streams they are. What is in another outbox's is not judged."""
    found = await refused(system.redis, system.streams.values(), await own(system.database))
    return [
        Finding(
            "foreign-stream", f"{error.what}{f' ({error.hosts})' if error.hosts else ''}",
            "nothing is published or acknowledged there, and messages for it wait in MongoDB: two outboxes would take "
            "each other's entries for their own",
            "give one of them keys of its own by OUTBOX_REDIS_PREFIX, or another Redis; or, if this database has "
            "taken the other one's place, outbox init --adopt-streams", examples=(error.stream,),
        )
        for error in found
    ]  # fmt: skip


async def oplog(system: System) -> list[Finding]:
    """Only a full oplog tells how far back it reaches: one that was begun yesterday reaches to yesterday."""
    local = system.database.client["local"]
    try:
        stats = await local.command("collStats", "oplog.rs")
        if stats["size"] < FULL * stats.get("maxSize", float("inf")):
            return []
        status = await system.database.client.admin.command("serverStatus")
        if status.get("oplogTruncation", {}).get("oplogMinRetentionHours", 0) >= OPLOG_HOURS:
            return []  # as the command below makes it: from then on it grows until it reaches so far
        first = await local["oplog.rs"].find_one(sort=[("$natural", 1)])
        last = await local["oplog.rs"].find_one(sort=[("$natural", -1)])
    except OperationFailure:  # no permission, or a mongos: whoever runs it looks after it
        return []
    window = timedelta(seconds=last["ts"].time - first["ts"].time) if first and last else timedelta()
    if window >= timedelta(hours=OPLOG_HOURS):
        return []
    hours = window.total_seconds() / 3600
    return [
        Finding(
            "oplog", f"the oplog reaches back {hours:.1f} hours",
            "a member that is away for longer must copy all data anew, and until it has, one more failure stops "
            "uploads; a backup that ends earlier cannot be rolled forward",
            'mongosh --eval "db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 24})", on each member',
        )
    ]  # fmt: skip


async def retention(system: System) -> list[Finding]:
    if system.backup is None or system.retention >= system.backup:
        return []
    days = system.backup.total_seconds() / 86400
    return [
        Finding(
            "retention", f"messages that are done are kept for {system.retention.total_seconds() / 86400:g} days, and "
            f"the oldest backup of Redis that would be restored is {days:g} days old",
            "what is still wanted is always kept, and published again after a restore. But the backup brings back "
            "entries whose messages are gone, and those that other programs added are handled again",
            f"set OUTBOX_RETENTION_DAYS={days:g} or more for the relays, or do not restore backups that old",
        )
    ]  # fmt: skip


async def redis_memory(system: System) -> list[Finding]:
    policy = await eviction.policy(system.redis)
    return [
        Finding(
            "eviction", warning, "what it drops is found and published again, but workers may see it twice",
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )
        for warning in eviction.warnings(policy)
    ]  # fmt: skip


async def redis_files(system: System) -> list[Finding]:
    replies = await primaries(system.redis, "INFO", "persistence")
    if not any(isinstance(reply, dict) and str(reply.get("aof_enabled")) == "0" for reply in replies):
        return []
    return [
        Finding(
            "append-only-file", "Redis keeps no append-only file",
            "when it ends, all that was published since the last snapshot is gone. The relay finds that out and "
            "publishes again what is still wanted, which workers may see twice",
            "redis-cli CONFIG SET appendonly yes, and the same in redis.conf",
        )
    ]  # fmt: skip

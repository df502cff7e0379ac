"""The doctor: before going live, look at what surrounds the outbox, and say in order of danger what to change.

`verify` is for the data, the doctor for settings, servers, rights and addresses. A check is a function from the
`Surroundings` to findings, and a line in `CHECKS`. Nothing is changed by looking.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from pymongo.errors import OperationFailure, PyMongoError
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from outbox.errors import SchemaError
from outbox.operations.doctor import addresses, clocks, installation, mongodb, redis, rights
from outbox.operations.doctor.findings import Check, Finding, Level, Program, Surroundings, verified
from outbox.operations.verify import setup
from outbox.servers import causes
from outbox.servers.clock import server_time
from outbox.servers.outages import server_of
from outbox.streams import registry

__all__ = ["CHECKS", "UNREACHABLE", "Check", "Finding", "Level", "Program", "Surroundings", "examine"]

UNREACHABLE = "unreachable"

_MONGODB, _REDIS = frozenset({"mongodb"}), frozenset({"redis"})
_BOTH = _MONGODB | _REDIS

CHECKS = [
    Check("MongoDB is a replica set", verified(Level.DANGER, setup.replica_set), _MONGODB),
    Check("MongoDB's user has the rights", rights.mongodb, _MONGODB),
    Check("MongoDB is of a version that is tested", mongodb.version, _MONGODB),
    Check("what a majority has is on its disks", mongodb.journal, _MONGODB),
    Check("the default write concern is the majority", mongodb.default_write_concern, _MONGODB),
    Check("collections, validator, indexes, partitions", verified(Level.DANGER, setup.database), _MONGODB),
    Check("declarations agree with what is registered", installation.declarations, _MONGODB),
    Check("Redis is a primary", redis.role, _REDIS),
    Check("Redis's user has the rights", rights.redis, _REDIS),
    Check("Redis is of a version that is tested", redis.version, _REDIS),
    Check("nobody else deletes from the collections", verified(Level.DANGER, setup.additions), _MONGODB),
    Check("the streams belong to this outbox", installation.owners, _BOTH),
    Check("Redis drops nothing when it is full", verified(Level.DANGER, setup.redis_memory), _REDIS),
    Check("Redis keeps an append-only file", verified(Level.DANGER, setup.redis_files), _REDIS),
    Check("MONGODB_URI asks for the majority, at the primary", addresses.consistency),
    Check("subjects are as declared", installation.subjects, _MONGODB),
    Check("the schema is of this version", installation.schema_version, _MONGODB),
    Check("connections are encrypted", addresses.encryption),
    Check("MongoDB asks who is there", mongodb.authentication, _MONGODB),
    Check("Redis asks who is there", redis.authentication),
    Check("the oplog reaches back far enough", verified(Level.WARNING, setup.oplog), _MONGODB),
    Check("messages are kept for long enough", installation.retention),
    Check("Redis's memory has a limit, and room", redis.memory, _REDIS),
    Check("Redis writes its file to the disk", redis.fsync, _REDIS),
    Check("streams are bounded, trimmed and rescued", installation.limits),
    Check("MongoDB's disk has room", mongodb.disk, _MONGODB),
    Check("MongoDB's clock is right", clocks.mongodb, _MONGODB),
    Check("Redis's clock is right", clocks.redis, _REDIS),
    Check("MongoDB has enough members", mongodb.members, _MONGODB),
]
"""In order of danger."""


async def examine(at: Surroundings, *, progress: Callable[[str, int], None] = lambda *_: None) -> list[Finding]:
    """All findings, the most dangerous first. `progress` gets the check that begins and how many are done.

    A server that is away, or refuses an answer, is a finding; what needs it is not looked at then.
    """
    findings: list[Finding] = []
    away: set[str] = set()
    try:
        at = replace(at, now=await server_time(at.database))
        with suppress(SchemaError, OperationFailure):  # checks of their own say so
            at = replace(at, streams=await registry.read(at.database) or at.streams)
    except PyMongoError as error:
        findings.append(_fails("", error, away))
    for done, check in enumerate(CHECKS):
        progress(check.title, done)
        if not check.needs & away:
            try:
                findings += await check.look(at)
            except (PyMongoError, RedisError, OSError) as error:
                findings.append(_fails(check.title, error, away))
    return sorted(findings, key=lambda finding: finding.level.rank)


def _fails(title: str, error: BaseException, away: set[str]) -> Finding:
    cause = causes.explain(error)
    what = f"{cause.what} ({cause.detail})" if cause.detail else cause.what
    if title and _is_about_one_command(error):
        return Finding("not-checked", Level.WARNING, what, f"this could not be looked at: {title}", cause.do)
    away.add(server_of(error))
    name = UNREACHABLE if cause.passes else "refused"
    return Finding(name, Level.DANGER, what, "nothing works without it, and what needs it was not looked at", cause.do)


def _is_about_one_command(error: BaseException) -> bool:
    """Whether the server answers others."""
    if isinstance(error, OperationFailure):
        return error.code not in (18, 8000) and "requires authentication" not in str(error)
    return isinstance(error, ResponseError) and not isinstance(error, AuthenticationError)

"""Whether the users that the settings name may do what the program does. Nothing is written to find out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from redis.exceptions import ConnectionError as Away
from redis.exceptions import NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from outbox.database import AUDIT, JOBS, LOGOUTS, OUTBOX, REFUSALS, STREAMS, UNIQUE, WORKERS, Document
from outbox.message.schema import COLLECTIONS
from outbox.message.subjects import by_declaration, collection_of
from outbox.operations.doctor.findings import Finding, Level, Program, Surroundings
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream
from outbox.streams.keys import record_key

Needed = dict[tuple[str, str], set[str]]
"""Actions by database and collection."""

_WRITES: Mapping[Program, Mapping[str, set[str]]] = {
    "relay": {
        **{each.name: {"insert", "update", "remove"} for each in COLLECTIONS},
        OUTBOX: {"insert", "update", "remove", "changeStream", "bypassDocumentValidation"},
    },
    "worker": {OUTBOX: {"insert", "update"}, WORKERS: {"insert", "update", "remove"}, UNIQUE: {"insert", "update"}},
    "api": {
        OUTBOX: {"insert", "update", "remove"}, JOBS: {"insert", "update"}, AUDIT: {"insert"},
        STREAMS: {"update"}, LOGOUTS: {"insert", "update"}, REFUSALS: {"insert", "update"},
    },
}  # fmt: skip


async def mongodb(at: Surroundings) -> list[Finding]:
    info = (await at.mongo.admin.command({"connectionStatus": 1, "showPrivileges": True}))["authInfo"]
    users, privileges = info["authenticatedUsers"], info["authenticatedUserPrivileges"]
    if not users:
        return []  # it asks nobody, or the user was refused before
    lacking = [
        f"{action} on {database}.{collection}"
        for (database, collection), actions in _needed(at).items()
        for action in sorted(actions)
        if not _granted(privileges, database, collection, action)
    ]
    if not lacking:
        return []
    return [
        Finding(
            "mongodb-rights", Level.DANGER,
            f"MongoDB's user {users[0]['user']!r} lacks {_some(lacking)}",
            f"the {at.program} fails at its first statement that needs it",
            f"give it the role of the {at.program} in docs/security.md, or put another user into MONGODB_URI",
        )
    ]  # fmt: skip


def _needed(at: Surroundings) -> Needed:
    needed: Needed = {}
    for each in COLLECTIONS:
        needed[at.database.name, at.database[each.name].name] = {"find"}
    for name, actions in _WRITES[at.program].items():
        needed.setdefault((at.database.name, at.database[name].name), set()).update(actions)
    for subject in by_declaration(at.streams):
        place = collection_of(at.database, subject)
        needed.setdefault((place.database.name, place.name), set()).add("find")
    return needed


def _granted(privileges: Iterable[Document], database: str, collection: str, action: str) -> bool:
    return any(
        not {action, "anyAction"}.isdisjoint(privilege["actions"])
        and _covers(privilege["resource"], database, collection)
        for privilege in privileges
    )


def _covers(resource: Document, database: str, collection: str) -> bool:
    if resource.get("anyResource"):
        return True
    there = resource.get("db"), resource.get("collection")
    return there[0] in ("", database) and there[1] in ("", collection)


async def redis(at: Surroundings) -> list[Finding]:
    lacking: list[str] = []
    for stream in at.streams.values():
        lacking += [shown for shown, command in _commands(at.program, stream) if not await _allowed(at.redis, command)]
        if lacking:
            break  # one stream is enough to say what the user needs
    if not lacking:
        return []
    return [
        Finding(
            "redis-rights", Level.DANGER, f"Redis's user lacks {_some(list(dict.fromkeys(lacking)))}",
            f"the {at.program} is refused, and waits until it is allowed",
            f"give it what docs/security.md has for the {at.program} (ACL SETUSER), or let REDIS_URL name another user",
        )
    ]  # fmt: skip


async def _allowed(redis: AnyRedis, command: Sequence[str]) -> bool:
    """Permissions are looked at before arguments are, and those of commands that write are wrong on purpose."""
    try:
        await redis.execute_command(*command)
    except NoPermissionError:
        return False
    except (Away, RedisTimeout):
        raise
    except RedisError:
        pass
    return True


_NO_ID = "none"
"""Where an id belongs: the command is refused, and does nothing."""

Command = tuple[str, tuple[str, ...]]
"""What a user needs for it, as an ACL says it; and a command that tries it."""


def _commands(program: Program, stream: Stream) -> list[Command]:
    key, group = stream.key, stream.group
    reads = [
        _on(key, "XLEN", key), _on(key, "XRANGE", key, "-", "+", "COUNT", "1"), _on(key, "XPENDING", key, group),
        _on(key, "XINFO|STREAM", key), _on(key, "XINFO|GROUPS", key), _on(key, "XINFO|CONSUMERS", key, group),
        _on(record_key(key), "HMGET", record_key(key), "outbox"), _on("", "INFO", "server"),
    ]  # fmt: skip
    handles = [
        _on(key, "XACK", key, group, _NO_ID), _on(key, "XDEL", key, _NO_ID),
        _on(key, "XCLAIM", key, group, "none", "0", _NO_ID), _on(key, "XGROUP|CREATE", key, group, _NO_ID),
        _on(key, "EVALSHA", "0" * 40, "1", key), _on(key, "EVAL", "return 1", "1", key), _on(key, "EXISTS", key),
        _on("", "TIME"),
    ]  # fmt: skip
    match program:
        case "api":
            return reads
        case "worker":
            return [*reads, *handles, _on(key, "XREADGROUP", "GROUP", group, "none", "STREAMS", key, _NO_ID)]
        case "relay":
            checkpoint = stream.checkpoint_key(0)
            return [
                *reads, *handles, _on(key, "XADD", key, "NOMKSTREAM", "*", "field"),
                _on(key, "XTRIM", key, "MAXLEN", _NO_ID), _on(checkpoint, "HMGET", checkpoint, "token"),
                _on(checkpoint, "HSET", checkpoint, "field", "value", "field"),
            ]  # fmt: skip


def _on(key: str, name: str, *arguments: str) -> Command:
    return f"+{name.lower()}{f' ~{key}' if key else ''}", (*name.split("|"), *arguments)


def _some(lacking: list[str]) -> str:
    more = len(lacking) - 5
    return ", ".join(lacking[:5]) + (f" and {more} more" if more > 0 else "")

"""The Redis: its version, its role, and what it keeps."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError

from outbox.operations.doctor import addresses
from outbox.operations.doctor.findings import Finding, Level, Surroundings
from outbox.servers.topology import primaries

LEAST = (7, 0)
NEARLY = 0.9


async def version(at: Surroundings) -> list[Finding]:
    for info in await _info(at, "server"):
        text = str(info.get("redis_version", "0"))
        if _numbers(text) < LEAST:
            return [
                Finding(
                    "redis-version", Level.DANGER, f"Redis is {text}",
                    "its scripts and stream commands differ from those that the outbox needs, which came with 7.0",
                    "upgrade to Redis 7.0 or later, or to Valkey",
                )
            ]  # fmt: skip
    return []


async def role(at: Surroundings) -> list[Finding]:
    for info in await _info(at, "replication"):
        if info.get("role") == "slave":
            return [
                Finding(
                    "redis-replica", Level.DANGER, "Redis is a replica, and takes no writes",
                    "nothing is published: messages wait in MongoDB",
                    "let REDIS_URL lead to the primary, or to the Sentinels: redis+sentinel://host:26379/mymaster",
                )
            ]  # fmt: skip
    return []


async def memory(at: Surroundings) -> list[Finding]:
    findings = []
    for info in await _info(at, "memory"):
        limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
        if not limit:
            findings.append(
                Finding(
                    "redis-memory-limit", Level.WARNING, "Redis has no limit of memory",
                    "when the machine has no more, the kernel ends Redis. With a limit it refuses writes, and messages "
                    "wait in MongoDB",
                    "redis-cli CONFIG SET maxmemory 2gb, or as much as the machine can spare, and the same in "
                    "redis.conf",
                )
            )  # fmt: skip
        elif used > NEARLY * limit:
            findings.append(
                Finding(
                    "redis-memory", Level.WARNING, f"Redis uses {used / limit:.0%} of its memory",
                    "when it is full it refuses writes, and messages wait in MongoDB",
                    "start more workers, raise maxmemory, or lower max_undelivered of the streams",
                )
            )  # fmt: skip
    return findings[:1]


async def fsync(at: Surroundings) -> list[Finding]:
    for reply in await primaries(at.redis, "CONFIG GET", "appendfsync"):
        if isinstance(reply, dict) and reply.get("appendfsync") == "no":  # most users may not ask, and need not
            return [
                Finding(
                    "appendfsync", Level.WARNING, "Redis leaves it to the kernel when its file is written to the disk",
                    "when the machine loses its power, half a minute of entries may be gone. They are noticed and "
                    "published again, which workers may see twice",
                    "redis-cli CONFIG SET appendfsync everysec, and the same in redis.conf",
                )
            ]  # fmt: skip
    return []


async def authentication(at: Surroundings) -> list[Finding]:
    has_password = "@" in at.settings.redis_dsn or "password" in addresses.redis_options(at.settings)
    if has_password or addresses.is_local(at.settings, "Redis"):
        return []
    return [
        Finding(
            "redis-without-user", Level.WARNING, "Redis is used without a password",
            "whoever reaches it can read, add and delete entries",
            "create the users of docs/security.md (ACL SETUSER), and put one into REDIS_URL",
        )
    ]  # fmt: skip


async def _info(at: Surroundings, part: str) -> list[dict[str, Any]]:
    """Of each primary that answers and allows it. Raises what the last one raises when none does."""
    replies = await primaries(at.redis, "INFO", part)
    errors = [reply for reply in replies if isinstance(reply, RedisError | OSError)]
    if len(errors) == len(replies):
        raise errors[-1]
    return [reply for reply in replies if isinstance(reply, dict)]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())

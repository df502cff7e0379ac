"""Eviction: what a full Redis does, and what is to be said about it."""

from __future__ import annotations

from redis.exceptions import NoPermissionError, ResponseError

from outbox.servers.topology import AnyRedis, primaries

NOEVICTION = "noeviction"


async def policy(redis: AnyRedis) -> str | None:
    """The eviction policy, or those of a cluster's primaries if they differ; None when we may not know.

    Primaries that are away are left out; raises what the last one raises when all of them are.
    """
    replies = await primaries(redis, "INFO", "memory")
    found = {
        str(reply.get("maxmemory_policy", NOEVICTION)) for reply in replies if not isinstance(reply, BaseException)
    }
    if not found and not _is_kept_from_us(replies[-1]):
        raise replies[-1]
    return ", ".join(sorted(found)) or None


def _is_kept_from_us(error: BaseException) -> bool:
    """By the user's rights, or as the server has no such command: some services have renamed it."""
    return isinstance(error, NoPermissionError) or (
        isinstance(error, ResponseError) and str(error).startswith("unknown command")
    )


def warnings(policy: str | None) -> list[str]:
    """What an operator should know about it."""
    if policy is None:
        return ["the eviction policy of Redis cannot be read: allow the command INFO, or see that it is noeviction"]
    if policy == NOEVICTION:
        return []
    return [
        f"the eviction policy of Redis is {policy}: when its memory is full, it may drop streams and checkpoints "
        "without a word, which are then published again. With noeviction, messages wait in MongoDB instead"
    ]

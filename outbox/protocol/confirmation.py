"""Confirmation: what a Redis must have done with a batch before it counts as published.

Without one, a batch counts when the primary has it in memory. What is lost after that is found and published again; a
confirmation makes that rarer, for the price of a wait per batch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from outbox.servers.cluster import Command
from outbox.servers.topology import AnyRedis, on_one_connection, primaries

CONFIRM_SECONDS = 3.0
"""How long the server waits; less than the client waits for the server."""


class Unconfirmed(RedisTimeoutError):
    """The batch may be there, and was not confirmed in time: an outage, although the server answers."""


class CannotConfirm(ResponseError):
    """This server cannot confirm in the way that was asked for, until an operator changes it or the setting."""


class Confirm(StrEnum):
    """Who must have a batch."""

    NONE = "none"
    """The primary, in memory."""
    AOF = "aof"
    """The primary, on its disk (Redis 7.2, Valkey). With `appendfsync everysec`, that is about a batch a second."""
    REPLICA = "replica"
    """One replica as well, in memory."""

    def command(self) -> Command:
        """Waits for all that was written before on the same connection. On another one, it waits for nothing."""
        milliseconds = int(CONFIRM_SECONDS * 1000)
        return ("WAITAOF", 1, 0, milliseconds) if self is Confirm.AOF else ("WAIT", 1, milliseconds)

    def check(self, reply: Any) -> None:
        """Raise unless `reply`, to that command, confirms."""
        if isinstance(reply, BaseException):
            if isinstance(reply, ResponseError) and not isinstance(reply, NoPermissionError) and "WAIT" in str(reply):
                raise CannotConfirm(f"OUTBOX_RELAY_CONFIRM={self}: {_REMEDY[self]}. The server says: {reply}")
            raise reply
        count = reply[0] if self is Confirm.AOF else reply
        if not count:
            raise Unconfirmed(
                f"OUTBOX_RELAY_CONFIRM={self}: {_NOT_YET[self]} in {CONFIRM_SECONDS:g} s. "
                "What was published stays unmarked until then, and is not published twice"
            )

    async def run(self, redis: AnyRedis, key: str, command: Command) -> Any:
        """Run `command` on the server of `key`; return its reply once what it wrote is confirmed."""
        if self is Confirm.NONE:
            return await redis.execute_command(*command)
        reply, confirmed = await on_one_connection(redis, key, [command, self.command()])
        if isinstance(reply, Exception):
            raise reply
        self.check(confirmed)
        return reply

    async def probe(self, redis: AnyRedis) -> None:
        """Raise CannotConfirm when a primary never will, or what else it raises."""
        if self is Confirm.AOF:
            # This client has written nothing, so there is nothing that would be waited for.
            for reply in await primaries(redis, *self.command()):
                if isinstance(reply, BaseException):
                    self.check(reply)


_REMEDY = {
    Confirm.AOF: (
        "this needs WAITAOF, so Redis 7.2 or later or Valkey, with `appendonly yes`; change that, or use `replica`, "
        "which every server has, or `none`"
    ),
    Confirm.REPLICA: "this needs WAIT on a primary",
}
_NOT_YET = {Confirm.AOF: "it was not on the primary's disk", Confirm.REPLICA: "no replica had it"}

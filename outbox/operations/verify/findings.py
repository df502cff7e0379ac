"""A finding: what is not as it should be, what that means, and the command that mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from outbox.database import Database
from outbox.operations import docs
from outbox.servers import causes
from outbox.servers.cluster import Cluster
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Streams

SHOWN = 10
"""Examples that a finding names."""

KEPT = 1000
"""Suspects that a check keeps in mind; of more it says "at least", and another run finds the rest."""

Repair = Callable[[], Awaitable[int]]
"""Mends what was found, as far as it is still so, and may mend the rest beyond KEPT with it; returns of how many."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` is a command, or words where there is none; `repair` does it, where that cannot make anything worse."""

    check: str
    what: str
    means: str
    mend: str
    count: int = 1
    examples: tuple[str, ...] = ()
    repair: Repair | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check, "what": self.what, "means": self.means, "mend": self.mend, "count": self.count,
            "examples": list(self.examples), "repairable": self.repair is not None, "docs": docs.section(self.check),
        }  # fmt: skip


def not_checked(title: str, error: BaseException) -> Finding:
    cause = causes.explain(error)
    what = f"{cause.what} ({cause.detail})" if cause.detail else cause.what
    return Finding("not-checked", what, f"this could not be looked at: {title}", cause.do)


def is_away(system: System, error: PyMongoError | RedisError) -> bool:
    """Whether a server is away, so that nothing else can be done. Of a cluster of Redis, it may be only a part."""
    a_part = isinstance(error, RedisError) and isinstance(system.redis, Cluster)
    return causes.explain(error).passes and not a_part


@dataclass(frozen=True, slots=True)
class System:
    """What is looked at, and by which measures.

    `now`: by the database server's clock. What changed within `grace` is under way, and not judged. Before something is
    called a defect that a worker may just be putting right, `pause` waits, and it is looked at again.
    """

    database: Database
    redis: AnyRedis
    streams: Streams
    now: datetime
    retention: timedelta
    grace: timedelta = timedelta(seconds=30)
    pending: timedelta = timedelta(minutes=5)
    idle: timedelta = timedelta(days=1)
    backup: timedelta | None = None
    pause: Callable[[], Awaitable[None]] | None = None

    @property
    def settled(self) -> datetime:
        """What was changed before this time is judged."""
        return self.now - self.grace

    async def look_again(self) -> None:
        if self.pause:
            await self.pause()


Check = Callable[[System], Awaitable[list[Finding]]]


def named(things: Iterable[object]) -> tuple[str, ...]:
    """The first few, as text."""
    return tuple(str(thing) for _, thing in zip(range(SHOWN), things, strict=False))


def number(things: int, one: str, many: str) -> str:
    """`1 file is`, `3 files are`, `at least 1000 files are`."""
    return f"1 {one}" if things == 1 else f"{'at least ' if things >= KEPT else ''}{things} {many}"

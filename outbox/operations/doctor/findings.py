"""What the doctor looks at, and what it finds: the danger, what to change, and how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pymongo.asynchronous.mongo_client import AsyncMongoClient

from outbox.database import Database, Document
from outbox.operations import docs, verify
from outbox.operations.verify.findings import System
from outbox.servers.topology import AnyRedis
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Streams

Program = Literal["relay", "worker", "api"]


class Level(StrEnum):
    """The worst first. `DANGER`: a promise of the outbox may be broken, or nothing works. `WARNING`: an outage or a
    mistake becomes more likely, or worse. `ADVICE`: it could be better.
    """

    DANGER = "danger"
    WARNING = "warning"
    ADVICE = "advice"

    @property
    def rank(self) -> int:
        return list(Level).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """Named `check` and `mend` as those of `outbox verify` are. `mend` begins with the command where there is one."""

    check: str
    level: Level
    what: str
    means: str
    mend: str

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check, "level": self.level.value, "what": self.what, "means": self.means, "mend": self.mend,
            "docs": docs.section(self.check, docs.GOING_LIVE),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What there is to look at.

    `streams`: as they are registered, or as the settings declare them while none is. `program`: whose user the settings
    name. `now`: by the database server's clock; None while it does not answer.
    """

    settings: OutboxSettings
    mongo: AsyncMongoClient[Document]
    database: Database
    redis: AnyRedis
    streams: Streams
    program: Program = "relay"
    now: datetime | None = None

    def system(self) -> System:
        """The same as `outbox verify` looks at it."""
        retention = timedelta(days=self.settings.outbox_retention_days)
        return System(self.database, self.redis, self.streams, self.now or datetime.now(UTC), retention)


Look = Callable[[Surroundings], Awaitable[list[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    """`needs`: the servers without which there is nothing to look at."""

    title: str
    look: Look
    needs: frozenset[str] = frozenset()


def verified(level: Level, check: verify.Check) -> Look:
    """A check of `outbox verify` that is about the surroundings, as one of the doctor's."""

    async def look(at: Surroundings) -> list[Finding]:
        found = await check(at.system())
        return [Finding(one.check, level, one.what, one.means, one.mend) for one in found]

    return look

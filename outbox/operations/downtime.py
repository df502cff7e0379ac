"""Downtime: the outages of servers that relays and APIs have met, kept for operators to see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

import pymongo
from pydantic import TypeAdapter
from pymongo.errors import PyMongoError

from outbox.database import LENIENT, OUTAGES, Database, Document
from outbox.operations.records import Moment, Whole, readable
from outbox.servers.clock import server_time

SECONDS = 2.0
"""For keeping one on record: the work that was held up waits for it."""

SHORTEST = timedelta(seconds=1)
"""A shorter one is a connection that was renewed, or an election, and no news."""


@dataclass(frozen=True, slots=True)
class Downtime:
    """A server that did not do as asked. `until` is None as long as it lasts; `waited`: messages that it held up."""

    server: str
    since: Moment
    until: Moment | None = None
    waited: Whole | None = None


async def record(database: Database, server: str, seconds: float, waited: int | None) -> None:
    """Keep an outage that has just ended. Never raises because of MongoDB: what it tells is not worth an outage."""
    if timedelta(seconds=seconds) < SHORTEST:
        return
    try:
        with pymongo.timeout(SECONDS):
            until = await server_time(database)
            since = until - timedelta(seconds=seconds)
            await database[OUTAGES].insert_one({"server": server, "since": since, "until": until, "waited": waited})
    except PyMongoError:
        return


async def latest(database: Database, limit: int = 50) -> list[Downtime]:
    """Those that are over, the newest first, as each relay has met them."""
    records = database[OUTAGES].with_options(codec_options=LENIENT)
    return await readable(records.find().sort("until", -1), understood, limit)


def understood(document: Document) -> Downtime:
    """What a document records. Raises ValueError when that cannot be read."""
    return _DOWNTIME.validate_python(document)


_DOWNTIME = TypeAdapter(Downtime)


def merged(outages: Iterable[Downtime]) -> list[Downtime]:
    """The same, what several have met put together, the newest first."""
    found: list[Downtime] = []
    for one in sorted(outages, key=lambda outage: outage.since):
        known = next((n for n, other in enumerate(found) if other.server == one.server and _touch(other, one)), None)
        if known is None:
            found.append(one)
            continue
        other = found[known]
        until = None if other.until is None or one.until is None else max(other.until, one.until)
        waited = max((w for w in (other.waited, one.waited) if w is not None), default=None)
        found[known] = replace(other, until=until, waited=waited)
    return found[::-1]


def _touch(earlier: Downtime, later: Downtime) -> bool:
    return earlier.until is None or later.since <= earlier.until + SHORTEST

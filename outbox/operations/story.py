"""A message's whole story: its file, its way through outbox and stream, who has it, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId, Timestamp
from redis.exceptions import RedisError

from outbox.database import Database, Document
from outbox.message import subjects
from outbox.message.document import State
from outbox.operations import messages
from outbox.operations.moments import show_seconds
from outbox.printable import printable
from outbox.protocol.settled import settled
from outbox.servers.clock import server_time
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream, Streams
from outbox.streams.entry_ids import EntryId

REDIS_SECONDS = 2.0
PAGE = 1000
"""Entries that one request reads: some milliseconds of Redis."""

CLOCKS = timedelta(seconds=10)
"""How far the clocks of MongoDB and Redis may be apart when an entry is looked for by its time."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to the message. `at` is None when only that it happened is known."""

    at: datetime | None
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The message in Redis. `entry` is None when it is not found there: trimmed, deleted, lost, or not yet published.

    `searched`: all that could be its entry was looked through, so that what is not found is not there. Until it is
    delivered, `delivered` is False. While a worker has it, `consumer` is who, since `idle_seconds`, and `deliveries`
    counts how often it was given out.
    """

    known: bool
    entry: str | None = None
    searched: bool = True
    delivered: bool = False
    consumer: str | None = None
    idle_seconds: float | None = None
    deliveries: int | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of a message. `file` is the document that it speaks of, if its stream names one; `settled`,
    whether what the message asked for has been dealt with, as that document says."""

    message: Document
    state: State | None
    file: Document | None
    settled: bool
    stream: Stream | None
    delivery: Delivery
    steps: tuple[Step, ...]
    trace_id: str | None
    others: tuple[Document, ...]
    at: datetime

    @property
    def wanted(self) -> bool:
        """Whether the file still waits for this message."""
        return self.file is not None and not self.settled

    @property
    def seen(self) -> datetime:
        """Up to when the message is as it is told here, by the server's clock, which may have been set back since."""
        times = (_time(self.message.get(name)) for name in ("published_at", "died_at"))
        return max([self.at, *(time for time in times if time)])

    def sentence(self) -> str:
        """Where the message is now, and what to do, if there is something to do."""
        match self.state:
            case State.SCHEDULED:
                return "It is kept back until its time comes."
            case State.PENDING:
                return "It waits in MongoDB to be published. If it waits for long, the overview tells why."
            case State.PUBLISHED:
                return self._published()
            case State.COMPLETED:
                return "It is done."
            case State.DEAD:
                return f"It is dead: {self.message.get('last_error') or 'no reason is recorded'}. Retry or discard it."
        return "Its state is none that is known here: it was written around the library."

    def _published(self) -> str:
        delivery = self.delivery
        subject = self.stream.subject if self.stream else None
        if self.file and subject and self.settled:
            value = subject.value_of(self.file)
            if value in subject.values:
                return "It was published and dealt with. A newer message of the same key is waited for now."
            return f"It was published, and what it is about is {value}: nobody waits for it now."
        if not delivery.known:
            return "It was published. Redis does not answer, so nobody knows who has it."
        if delivery.entry is None and not delivery.searched:
            return "It was published. Its entry was not found where it was looked for; outbox verify looks everywhere."
        if delivery.entry is None:
            what = f" Its file still waits: {self._comes_again()}" if self.wanted else ""
            return f"It was published, and its entry is no longer in the stream.{what}"
        if not delivery.delivered:
            return "It stands in the stream, and no worker has been given it yet."
        if delivery.consumer is not None:
            return f"The worker {delivery.consumer} has it, and has not said that it is done."
        if self.wanted:
            return f"A worker acknowledged it without a result, and its file still waits: {self._comes_again()}"
        return "A worker acknowledged it."

    def _comes_again(self) -> str:
        """A replay beside the relay's own rescue could let two workers do it."""
        limit = self.stream.rescue_seconds if self.stream else 0
        if limit:
            return f"a relay publishes it again once {show_seconds(limit)} have passed since its publication."
        return "replay it, once no worker has it any more."


async def tell(database: Database, redis: AnyRedis, streams: Streams, message_id: ObjectId) -> Story:
    """The story of one message. Raises NoSuchMessage. That Redis does not answer is a part of the story."""
    message = await messages.find(database, message_id)
    stream = streams.get(str(message.get("stream"))) if str(message.get("stream")) in streams else None
    file, done, others, delivery, at = await asyncio.gather(
        _file(database, stream, message), settled(database, stream.subject if stream else None, [message]),
        _others(database, message), _delivery(redis, stream, message), server_time(database),
    )  # fmt: skip
    steps = sorted(_steps(message, file, stream), key=lambda step: (step.at is None, step.at and step.at.timestamp()))
    return Story(
        message, _state(message), file, message["_id"] in done, stream, delivery, tuple(steps), _trace(message),
        tuple(others), at,
    )  # fmt: skip


def _state(message: Document) -> State | None:
    try:
        return State(str(message.get("state")))
    except ValueError:
        return None


def _trace(message: Document) -> str | None:
    headers = message.get("headers")
    parts = str(headers.get("traceparent", "")).split("-") if isinstance(headers, dict) else []
    return parts[1] if len(parts) == 4 else None


async def _file(database: Database, stream: Stream | None, message: Document) -> Document | None:
    if stream is None or stream.subject is None:
        return None
    return await subjects.find(database, stream.subject, message)


async def _others(database: Database, message: Document) -> list[Document]:
    """Other messages of the same key: of a file that was parsed again, for one."""
    key = message.get("key")
    if not isinstance(key, str):
        return []
    page = await messages.list_page(database, key=key, limit=20)
    return [other for other in page.messages if other["_id"] != message["_id"]]


async def _delivery(redis: AnyRedis, stream: Stream | None, message: Document) -> Delivery:
    if stream is None or not message.get("attempts"):
        return Delivery(known=True)
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            return await _find_delivery(redis, stream, message)
    except (RedisError, OSError, TimeoutError):
        return Delivery(known=False)


async def _find_delivery(redis: AnyRedis, stream: Stream, message: Document) -> Delivery:
    entry, searched = await _find_entry(redis, stream.key, message)
    if entry is None:
        return Delivery(known=True, searched=searched)
    groups: list[dict[str, Any]] = await redis.xinfo_groups(stream.key)
    last = next((str(group["last-delivered-id"]) for group in groups if group["name"] == stream.group), "0-0")
    if EntryId.parse(entry) > EntryId.parse(last):
        return Delivery(known=True, entry=entry)
    held: Any = await redis.xpending_range(stream.key, stream.group, min=entry, max=entry, count=1)
    if not held:
        return Delivery(known=True, entry=entry, delivered=True)
    return Delivery(
        True,
        entry,
        True,
        True,
        printable(str(held[0]["consumer"])),
        held[0]["time_since_delivered"] / 1000,
        held[0]["times_delivered"],
    )


async def _find_entry(redis: AnyRedis, stream: str, message: Document) -> tuple[str | None, bool]:
    """The latest entry of the message: in its batch, or, if no batch tells, around the time of its publication.

    And whether it would have been found if it were in the stream.
    """
    batch, published = message.get("entries"), message.get("published_at")
    if isinstance(batch, dict) and batch.keys() >= {"first", "last"}:
        first, last, certain = str(batch["first"]), str(batch["last"]), True
    elif isinstance(published, datetime):
        first, last = (str(int((published + shift).timestamp() * 1000)) for shift in (-CLOCKS, CLOCKS))
        certain = False
    else:
        return None, False
    latest = None
    while True:  # until the caller's deadline
        page: Any = await redis.xrange(stream, min=first, max=last, count=PAGE) or []
        for entry, fields in page:
            if fields and fields.get("message_id") == str(message["_id"]):
                latest = str(entry)
        if len(page) < PAGE:
            return latest, certain
        first = f"({page[-1][0]}"


def _steps(message: Document, file: Document | None, stream: Stream | None) -> Iterator[Step]:
    subject = stream.subject if stream else None
    if file and subject and not subject.is_file:
        yield Step(
            None, "What it is about", f"{subject.collection}: {subject.field} is {subject.value_of(file)!r:.200}"
        )
    elif file:
        yield Step(_time(file.get("created_at")), "Its file began to come in", str(file.get("filename") or ""))
        yield Step(_time(file.get("updated_at")), "Its file was last written", f"parsing: {file.get('parsing')}")
    position = message.get("position")
    appended = position.as_datetime() if isinstance(position, Timestamp) else None
    created = _time(message.get("created_at"))
    # A position is cut to the second; the appending process's clock has the rest, and may be wrong.
    near = created and appended and abs(created - appended) < timedelta(seconds=2)
    yield Step(created if near else appended or created, "Appended", "committed with the transaction of its record")
    for name, what in _TIMES:
        if message.get(name) is not None:
            yield Step(_time(message[name]), what, _detail(name, message))


_TIMES = (
    ("available_at", "Kept back until then"),
    ("published_at", "Published"),
    ("recovered_at", "Redis lost it, and the relay took it back"),
    ("retried_at", "Retried by an operator"),
    ("replayed_at", "Replayed by an operator"),
    ("died_at", "Died"),
    ("completed_at", "Completed"),
)


def _detail(name: str, message: Document) -> str:
    match name:
        case "published_at":
            return f"attempt {message.get('attempts')}, in batch {message.get('batch', '?')} of its partition"
        case "died_at":
            return str(message.get("last_error") or "")
        case "retried_at" | "replayed_at" | "recovered_at":
            return f"{message.get(name.removesuffix('_at'), 1)} times so far"
    return ""


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None

"""Workers: which consumers of this library are at work, what each holds, and for how long, as each records it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from bson import ObjectId

from outbox.database import LENIENT, OUTBOX, WORKERS, Database, Document
from outbox.message.document import State
from outbox.printable import printable

LONG_SECONDS = 300.0
"""What a worker has held for longer is worth a look; or for half as long as its handler may take, if that is sooner."""

SILENT_BEATS = 3
SPARE_SECONDS = 5.0
FORGOTTEN_SECONDS = 60.0
"""A worker that is silent and holds nothing is left out after so long."""


@dataclass(frozen=True, slots=True)
class Held:
    """A message in a worker's hands. `seconds`: since it was given to the worker, by the server's clock.

    `limit_seconds`: how long its handler may take; 0 is no limit.
    """

    stream: str
    key: str
    message: ObjectId | None
    entry: str
    attempt: int
    seconds: float
    limit_seconds: float

    @property
    def is_long(self) -> bool:
        return self.seconds > min(LONG_SECONDS, self.limit_seconds / 2 or LONG_SECONDS)

    def as_json(self) -> Document:
        return {
            "stream": self.stream, "key": self.key, "message": self.message and str(self.message),
            "entry": self.entry, "attempt": self.attempt, "seconds": round(self.seconds, 1),
            "limit_seconds": self.limit_seconds, "long": self.is_long,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Worker:
    """A consumer, by its name in its groups.

    `silent_seconds`: since it last recorded what it holds. `silent`: for longer than it should: its process is gone,
    its handler lets nothing else run, or it cannot reach MongoDB. `in_flight`: how many messages it holds; `holds` are
    the oldest of them.
    """

    name: str
    host: str
    pid: int
    streams: tuple[str, ...]
    concurrency: int
    running_seconds: float
    silent_seconds: float
    silent: bool
    in_flight: int
    holds: tuple[Held, ...]

    @property
    def is_stuck(self) -> bool:
        """Whether it holds a message for long, or holds one and is silent."""
        return any(held.is_long for held in self.holds) or (self.silent and bool(self.holds))

    def __str__(self) -> str:
        """What it holds, for an operator."""
        if not self.holds:
            return f"worker {self.name!r} holds nothing"
        longest = self.holds[0]
        silent = f", and has not been seen for {self.silent_seconds:.0f} s" if self.silent else ""
        return (
            f"worker {self.name!r} (pid {self.pid} on {self.host}) has held message {longest.message} of stream "
            f"{longest.stream!r} for {longest.seconds:.0f} s{silent}"
        )

    def as_json(self) -> Document:
        return {
            "worker": self.name, "host": self.host, "pid": self.pid, "streams": list(self.streams),
            "concurrency": self.concurrency, "running_seconds": round(self.running_seconds, 1),
            "silent_seconds": round(self.silent_seconds, 1), "silent": self.silent, "in_flight": self.in_flight,
            "holds": [held.as_json() for held in self.holds],
        }  # fmt: skip


async def read(database: Database) -> tuple[Worker, ...]:
    """The workers, those that hold a message for the longest first.

    Of one that has fallen silent, only what nobody else is known to hold, and what has no outcome yet, is shown.
    """
    records = database[WORKERS].with_options(codec_options=LENIENT)
    found = [_worker(document) async for document in await records.aggregate([{"$set": {"now": "$$NOW"}}])]
    held = {each.message for worker in found if not worker.silent for each in worker.holds}
    messages = await _messages(database, [each.message for worker in found for each in worker.holds if each.message])
    lost = {message for message, stored in messages.items() if stored.get("state") in _UNDONE} - held
    workers = [_known(_left(worker, lost) if worker.silent else worker, messages) for worker in found]
    shown = [w for w in workers if not w.silent or w.in_flight or w.silent_seconds < FORGOTTEN_SECONDS]
    return tuple(sorted(shown, key=lambda w: (-max((held.seconds for held in w.holds), default=0.0), w.name)))


_UNDONE = (State.PUBLISHED.value, State.PENDING.value)


async def _messages(database: Database, ids: Sequence[ObjectId]) -> Mapping[ObjectId | None, Document]:
    """Key and state of each message that is there."""
    readable = database[OUTBOX].with_options(codec_options=LENIENT)
    found = readable.find({"_id": {"$in": ids}}, {"key": 1, "state": 1}) if ids else None
    return {message["_id"]: message async for message in found} if found else {}


def _left(worker: Worker, lost: set[ObjectId | None]) -> Worker:
    """Of a silent worker: what it held when it fell silent, as far as that is lost."""
    holds = tuple(held for held in worker.holds if held.message in lost)
    return replace(worker, holds=holds, in_flight=len(holds))


def _known(worker: Worker, messages: Mapping[ObjectId | None, Document]) -> Worker:
    """With the keys of what it holds."""
    keys = {held: printable(str(messages.get(held.message, {}).get("key", ""))) for held in worker.holds}
    return replace(worker, holds=tuple(replace(held, key=key) for held, key in keys.items()))


def _worker(document: Document) -> Worker:
    now = document["now"]
    silent = _seconds(now, document.get("seen_at"))
    holds = [_held(now, one) for one in _list(document.get("holds")) if isinstance(one, dict)]
    return Worker(
        printable(str(document["_id"])),
        printable(str(document.get("host"))),
        _number(document.get("pid")),
        tuple(printable(str(name)) for name in _list(document.get("streams"))),
        _number(document.get("concurrency")),
        _seconds(now, document.get("started_at")),
        silent,
        silent > SILENT_BEATS * _number(document.get("every_seconds")) + SPARE_SECONDS,
        _number(document.get("in_flight")),
        tuple(sorted(holds, key=lambda held: -held.seconds)),
    )


def _held(now: Any, document: Document) -> Held:
    message = document.get("message")
    return Held(
        printable(str(document.get("stream"))),
        "",
        message if isinstance(message, ObjectId) else None,
        printable(str(document.get("entry"))),
        _number(document.get("attempt")),
        _seconds(now, document.get("since")),
        float(_number(document.get("limit_seconds"))),
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> Any:
    return value if isinstance(value, int | float) and isfinite(value) else 0


def _seconds(now: Any, moment: Any) -> float:
    try:
        return max(0.0, float((now - moment).total_seconds()))
    except (TypeError, AttributeError):  # written around the library
        return 0.0

"""Pauses: streams that an operator has paused, as it stands in the registry beside their declarations.

A paused stream takes messages as ever. Relays publish nothing of it, and workers that are built on our consumer begin
nothing of it, until it is resumed; what is in a handler's hands is finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from outbox.database import LENIENT, STREAMS, Database, Document
from outbox.printable import printable

if TYPE_CHECKING:
    from outbox.streams.declaration import Stream

LOOK_SECONDS = 0.5
"""How often each relay and worker looks, so that a pause is honoured within a second."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when a stream is paused, by the server's clock, by whom, and why. None: not known."""

    stream: str
    at: datetime | None = None
    who: str = ""
    reason: str | None = None

    def __str__(self) -> str:
        since = f" since {self.at:%Y-%m-%d %H:%M} UTC" if self.at else ""
        by = f" by {self.who}" if self.who else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"stream {self.stream!r} is paused{since}{by}{why}; to go on: outbox streams resume {self.stream}"

    def as_json(self) -> Document:
        return {"stream": self.stream, "at": self.at, "who": self.who, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Pauses:
    """`paused`: by the name of the declared stream. `resumed`: when others were resumed, by the server's clock."""

    paused: Mapping[str, Pause] = field(default_factory=dict)
    resumed: Mapping[str, datetime] = field(default_factory=dict)

    def of(self, stream: Stream) -> Pause | None:
        """The pause of a stream, which is that of all its priorities, shards and groups."""
        return self.paused.get(stream.topic or stream.family)

    def resumed_at(self, stream: Stream) -> datetime | None:
        return self.resumed.get(stream.topic or stream.family)


async def read(database: Database) -> Pauses:
    """What is paused now."""
    streams = database[STREAMS].with_options(codec_options=LENIENT)
    return understood(await streams.find({}, {"paused": 1, "resumed_at": 1}).to_list())


def understood(documents: Iterable[Document]) -> Pauses:
    """The pauses that documents of the registry tell of. What others wrote as `paused`, of whatever type, pauses."""
    paused, resumed = {}, {}
    for document in documents:
        name = str(document["_id"])
        if document.get("paused") is not None:
            paused[name] = _pause(name, document["paused"])
        elif isinstance(document.get("resumed_at"), datetime):
            resumed[name] = document["resumed_at"]
    return Pauses(paused, resumed)


def _pause(name: str, stored: Any) -> Pause:
    if not isinstance(stored, Mapping):
        return Pause(name)
    at, who, reason = stored.get("at"), stored.get("who"), stored.get("reason")
    return Pause(
        name,
        at if isinstance(at, datetime) else None,
        printable(who) if isinstance(who, str) else "",
        printable(reason) if isinstance(reason, str) else None,
    )

"""A selection: which published and completed messages a replay is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from bson import ObjectId
from pydantic import ConfigDict, InstanceOf, TypeAdapter

from outbox.database import Document
from outbox.errors import UsageError
from outbox.message import subjects
from outbox.message.document import State
from outbox.message.transitions import REPLAYABLE
from outbox.operations.records import Moment
from outbox.streams.entry_ids import EARLIEST

MAX_IDS = 10_000
SHOWN_IDS = 20
"""How many of the ids that were asked for are shown, and put on record."""

_APART = 3600
"""Seconds by which the time in a message's id and its `created_at`, both of one clock, can be apart: the library takes
them at the same moment, and both from the id of an entry that is adopted."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages to replay: those that match all that is given. An empty one is refused.

    `since` (included) and `until` (not included) are about when a message was appended, by the appending process's
    clock; an entry that another producer added to the stream, when it was added. `file` selects the messages about that
    file.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # of a later version, what is not known here may count

    since: Moment | None = None
    until: Moment | None = None
    stream: str | None = None
    key: str | None = None
    states: tuple[State, ...] = REPLAYABLE
    ids: tuple[InstanceOf[ObjectId], ...] = ()
    file: InstanceOf[ObjectId] | None = None

    def __post_init__(self) -> None:
        for name, time in (("since", self.since), ("until", self.until)):
            if time is not None and time.tzinfo is None:
                raise UsageError(f"{name} has no time zone: pass an aware datetime, such as datetime.now(UTC)")
            if time is not None:
                _refuse_beyond(name, time)
        for name, text in (("stream", self.stream), ("key", self.key)):
            if text == "":  # taken for none, it would select all
                raise UsageError(f"{name} is empty: leave it out to select whatever it is")
        if self.since and self.until and self.since >= self.until:
            raise UsageError(f"since ({self.since}) must be earlier than until ({self.until})")
        if not self.states or (wrong := [state for state in self.states if state not in REPLAYABLE]):
            states = ", ".join(wrong) if self.states else "none"
            raise UsageError(f"states: {states}; only published and completed messages can be replayed")
        if len(self.ids) > MAX_IDS:
            raise UsageError(f"{len(self.ids)} ids are more than {MAX_IDS}: select by time or stream instead")
        if self.file and self.key and self.key != str(self.file):
            raise UsageError("file and key differ: the key of a file's messages is the file's id, so give one of them")
        narrowed = self.since or self.until or self.stream or self.key or self.ids or self.file
        if not narrowed and set(self.states) == set(REPLAYABLE):
            raise UsageError("nothing is selected: give at least one of since, until, stream, key, file, state, ids")

    @property
    def few(self) -> bool:
        """Whether an index leads to the messages at once, so that the outbox need not be walked."""
        return bool(self.key or self.file or self.ids)

    def query(self, before: datetime) -> Document:
        """The selected messages, of those that were published not later than `before`."""
        query: Document = {"state": {"$in": [state.value for state in self.states]}}
        # "not later" also holds for a message without the time, such as one that was found in the stream by recovery.
        query["published_at"] = {"$not": {"$gt": before}}
        if created := _between(self.since, self.until):
            query["created_at"] = created
        if self.stream:
            query["stream"] = self.stream
        if self.file:
            query |= subjects.about([self.file])
        elif self.key:
            query["key"] = self.key
        if self.ids:
            query["_id"] = {"$in": list(self.ids)}
        else:  # an id of another kind, which only others write, is no message's: relays make what has one dead
            query |= {"_id": {"$type": "objectId"}} if self.few else self.walked
        return query

    @property
    def walked(self) -> Document:
        """The part of the outbox that a time selects: there is no index of `created_at`, and an id begins with it."""
        first = _id_at(self.since, -_APART) if self.since else None
        end = _id_at(self.until, _APART) if self.until else None
        within = {"_id": {"$type": "objectId", **_between(first, end)}}
        if first is None:
            return within
        # An entry of others may have an id that is no time. As a message, it has one that is earlier than all times.
        return {"$or": [within, {"_id": {"$type": "objectId", "$lt": _id_at(EARLIEST, 0)}}]}

    def as_document(self) -> Document:
        """What is given, as a job keeps it and JSON shows it."""
        given: Document = {
            "since": self.since, "until": self.until, "stream": self.stream, "key": self.key, "file": self.file,
            "states": [state.value for state in self.states], "ids": list(self.ids),
        }  # fmt: skip
        return {name: value for name, value in given.items() if value}

    def summary(self, count: int | None = None) -> Document:
        """The same for people, and for the audit: of many ids the first ones, and in `ids_count` how many there are.

        :param count: that number, where the selection itself was read with the first ones alone.
        """
        document = self.as_document()
        count = count or len(self.ids)
        if count > SHOWN_IDS:
            document |= {"ids": list(self.ids[:SHOWN_IDS]), "ids_count": count}
        return document

    @classmethod
    def of(cls, document: object) -> Selection:
        """The inverse of `as_document`. Raises ValueError of what that never gives."""
        try:
            return _SELECTION.validate_python(document)
        except UsageError as error:
            raise ValueError(str(error)) from None


_SELECTION = TypeAdapter(Selection)


def _refuse_beyond(name: str, time: datetime) -> None:
    try:
        time.astimezone(UTC)
    except OverflowError:  # MongoDB's driver would fail on it, too
        raise UsageError(f"{name} ({time}) is before the year 1 or after the year 9999, in UTC") from None


def _id_at(moment: datetime, apart: int) -> ObjectId | None:
    """The first id of that moment, or None when it is before or after all times that an id can hold."""
    seconds = int(moment.timestamp()) + apart
    return ObjectId(seconds.to_bytes(4, "big") + bytes(8)) if 0 <= seconds < 2**32 else None


def _between(first: Any, end: Any) -> Document:
    return {**({"$gte": first} if first else {}), **({"$lt": end} if end else {})}

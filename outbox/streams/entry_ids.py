"""Ids of stream entries, such as "1700000000000-0": read and compared in one way."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
"""Redis had no streams before. An id with an earlier time was chosen by whoever added the entry, such as 1-1."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = _EPOCH + timedelta(seconds=2**32)  # which an ObjectId cannot hold any more


class EntryId(NamedTuple):
    """The id of an entry, in the order of the stream."""

    milliseconds: int
    number: int

    @classmethod
    def parse(cls, text: object) -> EntryId:
        """:raises ValueError: `text` is not an id as Redis writes them, in full."""
        found = _WRITTEN.fullmatch(text) if isinstance(text, str) else None
        if found is None or max(id_ := cls(int(found[1]), int(found[2]))) > _MOST:
            raise ValueError(f"{text!r:.80} is not the id of a stream entry, such as 1700000000000-0")
        return id_

    @property
    def time(self) -> datetime | None:
        """When the entry was added, by the clock of Redis. None: its id is no time."""
        try:
            time = _EPOCH + timedelta(milliseconds=self.milliseconds)
        except OverflowError:
            return None
        return time if EARLIEST <= time < _LATEST else None

    def next(self) -> EntryId:
        """The smallest id that is larger."""
        return EntryId(self.milliseconds, self.number + 1) if self.number < _MOST else EntryId(self.milliseconds + 1, 0)

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.number}"


NEVER = EntryId(0, 0)
"""No entry has this id: it stands for the time before the first."""


class Range(NamedTuple):
    """Entries of a stream, by the ids of the first and the last. What it is said of stands among them.

    `mixed`: others may stand among them, too. Those of one batch are its own, and their ids follow one another.
    """

    first: str
    last: str
    mixed: bool = False

    @property
    def record(self) -> dict[str, object]:
        """As it stands in a message."""
        return {"first": self.first, "last": self.last} | ({"mixed": True} if self.mixed else {})


def known(text: str | None) -> EntryId:
    """NEVER for what is not known."""
    return EntryId.parse(text) if text else NEVER


def is_entry_id(text: object) -> bool:
    """Whether `text` is an id as Redis writes them."""
    try:
        EntryId.parse(text)
    except ValueError:
        return False
    return True


_WRITTEN = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_MOST = 2**64 - 1

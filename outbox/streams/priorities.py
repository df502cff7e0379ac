"""Priorities of messages, and whose turn it is: which of a family's streams a worker reads next."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from outbox.errors import InvalidMessage

if TYPE_CHECKING:
    from outbox.streams.declaration import Stream


class Priority(StrEnum):
    """How soon a message is wanted, the highest first. Each priority has a stream of its own."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @classmethod
    def read(cls, text: str) -> Priority:
        """Raises InvalidMessage."""
        try:
            return cls(text)
        except ValueError:
            raise InvalidMessage(f"priority {text!r:.40} is unknown: use {', '.join(cls)}") from None


WEIGHTS = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}
"""While all of them have entries: the turns of each, out of the sum."""


class Turns:
    """The order in which to read streams, anew for each read: the higher priority mostly first, and none never.

    Smooth weighted round robin: every 21 turns each priority has been first as often as its weight says, evenly spread,
    so that the lowest waits for 20 reads at most, however much the higher ones have.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        """`streams`: as `Streams.family` has them, the highest priority first."""
        self._streams = tuple(streams)
        self._credit = dict.fromkeys(self._streams, 0)

    def next(self) -> list[Stream]:
        """Take what the first one has; go on to the next only where there is nothing."""
        for stream in self._streams:
            self._credit[stream] += WEIGHTS[stream.priority]
        first = max(self._streams, key=lambda stream: self._credit[stream])
        self._credit[first] -= sum(WEIGHTS[stream.priority] for stream in self._streams)
        return [first, *(stream for stream in self._streams if stream is not first)]

"""Silence: who has given no new sign of life for so long that he counts as dead, by this machine's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def _since(before: Mapping[K, tuple[V, float]], signs: Mapping[K, V], now: float) -> dict[K, tuple[V, float]]:
    """Each sign, and since when it has been the same. Who is not among `signs` is forgotten."""
    fresh = {key: (sign, now) for key, sign in signs.items()}
    same = {key: seen for key, seen in before.items() if key in signs and seen[0] == signs[key]}
    return {**fresh, **same}


class Silence(Generic[K, V]):
    """Compares signs of life of one look with those of the looks before. What they say is not looked at.

    Counted from when a sign was first seen here, so later than it was given: nobody is taken for dead too early, unless
    this machine's clock runs faster than his. A host that is suspended counts for longer, its clock stands still.
    """

    def __init__(self, seconds: float, patience: Callable[[V], float] = lambda _: 0.0) -> None:
        """`patience`: how long the giver of a sign may be silent, where that is longer than `seconds`."""
        self._seconds = seconds
        self._patience = patience
        self._seen: dict[K, tuple[V, float]] = {}

    def listen(self, signs: Mapping[K, V]) -> set[K]:
        """Those whose sign has been the same for too long. Who is not among `signs` is forgotten."""
        now = time.monotonic()
        self._seen = _since(self._seen, signs, now)
        # Not for less than he takes between two signs, or he would count as dead again and again.
        limits = {key: max(self._seconds, self._patience(sign)) for key, (sign, _) in self._seen.items()}
        return {key for key, (_, since) in self._seen.items() if now - since >= limits[key]}


class WatchedSilence(Generic[K, V]):
    """For how long a sign of life has been the same while somebody looked, by this machine's monotonic clock.

    For those who cannot give a sign while they cannot be looked at, because both go through one server. So all is
    counted anew after a look that came late, and the time around one that failed is not counted.
    """

    def __init__(self, gap_seconds: float) -> None:
        """`gap_seconds`: a look comes late that much after the one before."""
        self._gap_seconds = gap_seconds
        self._looked = time.monotonic()
        self._missed = False
        self._seen: dict[K, tuple[V, float]] = {}

    def miss(self) -> None:
        """A look failed."""
        self._missed = True

    def listen(self, signs: Mapping[K, V]) -> dict[K, float]:
        """For how many seconds each has shown its sign. Who is not among `signs` is forgotten."""
        now = self._now()
        self._seen, self._looked = _since(self._seen, signs, now), now
        return {key: now - since for key, (_, since) in self._seen.items()}

    def same_for(self, seconds: float) -> dict[K, V]:
        """Who shows one sign for so long by now if it still is the one that he showed at the last look, and that."""
        now = self._now()
        # Between two looks there can have been an outage that nobody noticed, so two are not enough.
        limit = max(seconds, self._gap_seconds)
        return {key: sign for key, (sign, since) in self._seen.items() if now - since >= limit}

    def _now(self) -> float:
        now = time.monotonic()
        unseen = now - self._looked
        late = unseen >= self._gap_seconds
        if late or self._missed:
            later = {key: (sign, since + unseen) for key, (sign, since) in self._seen.items()}
            self._seen, self._looked, self._missed = {} if late else later, now, False
        return now

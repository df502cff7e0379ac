"""Silence: who has given no new sign of life for so long that he counts as dead, by this machine's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


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
        fresh = {key: (sign, now) for key, sign in signs.items()}
        same = {key: seen for key, seen in self._seen.items() if key in signs and seen[0] == signs[key]}
        self._seen = {**fresh, **same}
        # Not for less than he takes between two signs, or he would count as dead again and again.
        limits = {key: max(self._seconds, self._patience(sign)) for key, (sign, _) in self._seen.items()}
        return {key for key, (_, since) in self._seen.items() if now - since >= limits[key]}

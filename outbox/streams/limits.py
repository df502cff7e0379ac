"""How far the numbers of a declared stream may go: the same in OUTBOX_STREAMS and in code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from outbox.errors import SettingsError

_MOST_SECONDS = 1e9
"""More cannot be counted by every clock: as `family.countable` has it."""

_MOST_WHOLE = 2**63 - 1
"""More cannot be stored in MongoDB."""


class Limit(NamedTuple):
    """From `least` to `most`, both included. `most`: None is what can be counted; `above`: without `least` itself."""

    least: int
    most: int | None = None
    whole: bool = False
    above: bool = False

    def allows(self, value: float) -> bool:
        return self.least <= value <= self.highest and not (self.above and value == self.least)

    def check(self, where: str, name: str, value: object) -> None:
        """Raise SettingsError unless `value` is such a number."""
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.allows(value):
            whole = " (a whole number)" if self.whole and isinstance(value, float) else ""
            raise SettingsError(f"{where}: {name} must be {self}{whole}, not {value!r:.40}")

    @property
    def highest(self) -> float:
        return self.most or (_MOST_WHOLE if self.whole else _MOST_SECONDS)

    @property
    def field(self) -> dict[str, Any]:
        """The same for a field of a pydantic model, without what `countable` refuses."""
        least = {"gt" if self.above else "ge": self.least}
        return least | {"le": self.most} if self.most else least

    def __str__(self) -> str:
        return f"{'above ' if self.above else ''}{self.least} to {self.highest:.15g}"


STREAM = {
    "partitions": Limit(1, 256, whole=True),
    "shards": Limit(1, 64, whole=True),
    "max_undelivered": Limit(0, whole=True),
    "rescue_seconds": Limit(0),
    "handler_seconds": Limit(0),
    "ignore_groups_after_seconds": Limit(60),
    "unique_seconds": Limit(0, 366 * 86400),
}
RETRY = {
    "attempts": Limit(1, 1000, whole=True),
    "base_seconds": Limit(0, above=True),
    "cap_seconds": Limit(0, above=True),
}
_A_MOMENT = 1e-6
_ONCE_UNCHECKED = {name: STREAM[name] for name in STREAM if name.endswith("_seconds")}


def brought_within(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is registered of a stream, with the nearest number that may be.

    Versions before registered from code what was out of these limits, and the messages of such a stream must go on.
    """
    found = _nearest(document, _ONCE_UNCHECKED)
    retry = found.get("retry")
    return {**found, "retry": _nearest(retry, RETRY)} if isinstance(retry, Mapping) else found


def _nearest(values: Mapping[str, Any], limits: Mapping[str, Limit]) -> dict[str, Any]:
    found = dict(values)
    for name, limit in limits.items():
        value = found.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or limit.allows(value):
            continue
        if value != value:  # no number, and so the default
            del found[name]
        elif value > limit.highest:
            found[name] = limit.highest
        else:
            found[name] = _A_MOMENT if limit.above else limit.least
    return found

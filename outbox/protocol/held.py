"""What is known of leases and relays: the values that `leases` takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from bson import ObjectId

from outbox.streams.declaration import Partition


@dataclass(frozen=True, slots=True)
class Lease:
    """A partition under one owner and token."""

    partition: Partition
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a partition stands: its last batch's number and tag.

    In MongoDB, number 0 says that this is not known: nothing was ever published, or a recovery is under way, whose tag
    this is then.
    """

    batch: int
    tag: str


@dataclass(frozen=True, slots=True)
class Held:
    """Proof that a lease was held a moment ago, and where it stands. Writes to messages go under its token."""

    lease: Lease
    progress: Progress


class Step(NamedTuple):
    """A lease that goes on from where it was `after` to what was `reached`, to write to the messages of `intent`."""

    lease: Lease
    after: Progress
    reached: Progress
    intent: Sequence[ObjectId]


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life of a lease, or of a relay: as long as its owner lives, a newer one follows soon."""

    owner: str
    token: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """What a relay sees when it looks around: its own leases, what is free, and who else is alive.

    `partitions`: how many there are of each stream. `relays`: which streams each of them drains, by its name.
    `signs`: of the leases of others that have not run out, and of their owners, by name. `lease_seconds`: for how long
    the leases of each other relay last, by its name; 0 of one that does not say it.
    """

    held: frozenset[Lease]
    free: tuple[Partition, ...]
    partitions: Mapping[str, int]
    relays: Mapping[str, frozenset[str]]
    signs: Mapping[Partition | str, Sign]
    lease_seconds: Mapping[str, float]

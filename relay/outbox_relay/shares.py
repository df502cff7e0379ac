"""Shares: which part of the partitions is for which relay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """How many partitions of these streams, together, are for one relay."""

    streams: frozenset[str]
    partitions: int


def fair_share(relays: Sequence[str], me: str, partitions: int) -> int:
    """How many of `partitions` are for `me`: the shares of all relays differ by one at most, and add up."""
    rank = sorted(relays).index(me)
    share, rest = divmod(partitions, len(relays))
    return share + (rank < rest)


def shares(partitions: Mapping[str, int], relays: Mapping[str, frozenset[str]], me: str) -> list[Share]:
    """The shares of `me` in the streams that it drains, which are shared among those that drain them and no others.

    Streams that are drained by the same relays are counted together. So every partition is in somebody's share as long
    as one relay drains its stream.

    :param partitions: how many there are of each stream.
    :param relays: which streams each relay drains, by its name.
    """
    pools: defaultdict[frozenset[str], set[str]] = defaultdict(set)
    for stream in partitions:
        pools[frozenset(relay for relay, drains in relays.items() if stream in drains)].add(stream)
    return [
        Share(frozenset(streams), fair_share(sorted(pool), me, sum(partitions[stream] for stream in streams)))
        for pool, streams in pools.items()
        if me in pool
    ]

"""Relays whose leases last for different times: each is waited for by its own."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Decimal128, Int64, MaxKey
from bson.datetime_ms import DatetimeMS

from outbox.database import PARTITIONS, RELAYS, Document
from tests.relay.silence import Clock
from tests.relay.test_leaser import Fleet, clock, fleet

__all__ = ["clock", "fleet"]


async def test_a_relay_whose_leases_last_longer_is_not_silent_before_its_own_time_is_over(
    fleet: Fleet, clock: Clock
) -> None:
    """It gives a sign of life every 20 s, and the other one would take it for dead after 10."""
    slow, quick = fleet.start("slow", seconds=60), fleet.start("quick", seconds=10)
    await fleet.rounds(slow, quick)
    before = await fleet.owners()
    assert sorted(before.values()) == [3, 4]
    for _ in range(3):
        leased = [await slow.round()]
        for _ in range(6):
            clock.now += 4
            leased.append(await quick.round())
        assert {(one.acquired, one.lost, one.given_back, one.relays) for one in leased} == {(0, 0, 0, 2)}
    await slow.round()
    await quick.round()
    clock.now += 59
    await quick.round()
    assert await fleet.owners() == before
    clock.now += 2
    await quick.round()
    assert await fleet.owners() == {"quick": 7}


@pytest.mark.parametrize(
    ("stored", "limit"),
    [
        (None, 10), ("60", 10), (-5, 10), (0.5, 10), (float("nan"), 10), (float("inf"), 3600), (Int64(2**62), 3600),
        (Decimal128("1E+6000"), 3600), (Decimal128("-1E+6000"), 10), (Decimal128("NaN"), 10), (True, 10), ([60], 10),
        (MaxKey(), 10), (DatetimeMS(2**62), 10), ("nothing at all", 10),
    ],
    ids=str,
)  # fmt: skip
async def test_how_long_leases_last_is_bounded_whatever_a_record_says(
    fleet: Fleet, clock: Clock, stored: Any, limit: float
) -> None:
    """Or it says nothing, as that of the version before."""
    a, b = fleet.start("a", seconds=10), fleet.start("b", seconds=10)
    await fleet.rounds(a, b)
    said: list[Document] = [{"$set": {"expires_at": {"$add": ["$$NOW", 7200_000]}}}]
    await fleet.database[PARTITIONS].update_many({"owner": "a"}, said)
    said += [{"$set": {"lease_seconds": {"$literal": stored}}}]
    said += [{"$unset": "lease_seconds"}] if stored == "nothing at all" else []
    await fleet.database[RELAYS].update_many({"_id": "a"}, said)
    await b.round()
    clock.now += limit - 1
    await b.round()
    assert (await fleet.owners())["a"] in (3, 4)
    clock.now += 2
    await b.round()
    assert await fleet.owners() == {"b": 7}

"""Relays share partitions fairly, and hand over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect

from outbox.database import PARTITIONS, RELAYS, Database, Document
from outbox.message import schema
from outbox.protocol.leases import Lease, Leases
from outbox.streams.declaration import Stream, Streams
from outbox_relay.leaser import Leased, Leaser
from outbox_relay.outage import Outages
from outbox_relay.service import Next, Service
from outbox_relay.shares import fair_share
from tests.relay.silence import Clock
from tests.strategies import examples

STREAMS = Streams([Stream("a", "g", partitions=5), Stream("b", "g", partitions=2)])
SECONDS = 60.0
"""How long leases last by the server's clock: longer than a test that stands still now and then."""


@examples(100)
@given(st.sets(st.text(min_size=1), min_size=1, max_size=20), st.integers(0, 300))
def test_shares_add_up_and_differ_by_one_at_most(relays: set[str], partitions: int) -> None:
    shares = [fair_share(sorted(relays), me, partitions) for me in relays]
    assert sum(shares) == partitions
    assert max(shares) - min(shares) <= 1


@dataclass(frozen=True)
class Idle:
    next: Next = Next.WAIT


@dataclass
class Relay:
    """A leaser whose drainers do nothing but hold on until they are told to be quiet."""

    leaser: Leaser
    drained: dict[Lease, asyncio.Task[None]] = field(default_factory=dict)

    async def round(self) -> Leased:
        leased = await self.leaser.run_once()
        await asyncio.sleep(0)  # let drainers that were told to be quiet end
        return leased


class Fleet:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.outages = Outages({}, _none_waiting)
        self.relays: list[Relay] = []

    def start(self, name: str, seconds: float = SECONDS) -> Relay:
        def start(lease: Lease) -> tuple[Service, asyncio.Task[None]]:
            service = Service(str(lease.partition), _idle, self.outages, interval=60)
            relay.drained[lease] = asyncio.create_task(service.run())
            return service, relay.drained[lease]

        leases = Leases(self.database, STREAMS, name, seconds=seconds)
        relay = Relay(Leaser(leases, name, lambda: {"host": "test"}, start, seconds=seconds))
        self.relays.append(relay)
        return relay

    async def rounds(self, *relays: Relay, count: int = 6) -> None:
        for _ in range(count):
            for relay in relays:
                await relay.round()

    async def owners(self) -> Counter[str | None]:
        return Counter([lease["owner"] async for lease in self.database[PARTITIONS].find()])

    async def expire(self, name: str) -> None:
        """The server's clock has moved past everything that this relay was granted."""
        long_ago: list[Document] = [{"$set": {"expires_at": {"$subtract": ["$$NOW", 1000]}}}]
        await self.database[PARTITIONS].update_many({"owner": name}, long_ago)
        await self.database[RELAYS].update_many({"_id": name}, long_ago)


async def _idle() -> Idle:
    return Idle()


async def _none_waiting() -> int:
    return 0


@pytest.fixture
def clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Also the one by which leases are trusted."""
    monkeypatch.setattr("outbox_relay.leaser.time", clock)
    return clock


@pytest.fixture
async def fleet(mongo: AsyncMongoClient[Document], database: str) -> AsyncIterator[Fleet]:
    await schema.ensure(Database(mongo, database), STREAMS)
    made = Fleet(Database(mongo, database))
    yield made
    for relay in made.relays:
        for task in relay.drained.values():
            task.cancel()


async def test_one_relay_holds_everything(fleet: Fleet) -> None:
    await fleet.rounds(fleet.start("a"), count=1)
    assert await fleet.owners() == {"a": 7}


async def test_partitions_are_shared_when_relays_come_and_go(fleet: Fleet) -> None:
    a, b, c = fleet.start("a"), fleet.start("b"), fleet.start("c")
    await fleet.rounds(a)
    await fleet.rounds(a, b)
    assert sorted((await fleet.owners()).values()) == [3, 4]
    await fleet.rounds(a, b, c)
    assert sorted((await fleet.owners()).values()) == [2, 2, 3]
    b.leaser.leave()
    await fleet.rounds(b, a, c)
    assert sorted((await fleet.owners()).items()) == [("a", 4), ("c", 3)]


async def test_a_clean_stop_hands_over_at_once(fleet: Fleet) -> None:
    a, b = fleet.start("a"), fleet.start("b")
    await fleet.rounds(a, b)
    a.leaser.leave()
    await a.round()  # told to be quiet
    assert (await a.round()).left
    assert await fleet.database[RELAYS].distinct("_id") == ["b"]
    await b.round()
    assert await fleet.owners() == {"b": 7}


async def test_a_dead_relay_is_replaced_when_its_leases_run_out(fleet: Fleet) -> None:
    a, b = fleet.start("a"), fleet.start("b")
    await fleet.rounds(a)
    await b.round()
    assert await fleet.owners() == {"a": 7}
    await fleet.expire("a")
    await b.round()
    assert await fleet.owners() == {"b": 7}


async def test_a_relay_that_slept_notices_what_it_has_lost(fleet: Fleet) -> None:
    a, b = fleet.start("a"), fleet.start("b")
    await fleet.rounds(a)
    await fleet.expire("a")
    await b.round()
    leased = await a.round()
    assert leased.lost == 7
    await asyncio.wait_for(asyncio.gather(*a.drained.values()), 30)


async def test_each_new_lease_has_a_higher_token(fleet: Fleet) -> None:
    for token, name in enumerate(("a", "b", "c"), start=1):
        relay = fleet.start(name)
        await relay.round()
        assert set(await fleet.database[PARTITIONS].distinct("token")) == {token}
        await fleet.expire(name)


async def test_two_relays_never_get_one_lease(fleet: Fleet) -> None:
    for _ in range(5):
        relays = [fleet.start(f"relay {n}") for n in range(4)]
        await asyncio.gather(*(relay.round() for relay in relays))
        held = [lease.partition for relay in relays for lease in relay.drained]
        assert len(held) == len(set(held))
        for n in range(4):
            await fleet.expire(f"relay {n}")


async def test_trust_ends_before_the_lease_does(fleet: Fleet, clock: Clock) -> None:
    a = fleet.start("a", seconds=10)
    assert not a.leaser.trusted()
    await a.round()
    assert a.leaser.trusted()
    clock.now += 9
    assert not a.leaser.trusted()


async def test_a_lease_whose_reply_was_lost_is_found_by_the_next_round(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, acquire = fleet.start("a"), Leases.acquire
    await a.round()

    async def lose_the_reply(*args: Any) -> None:
        await acquire(*args)
        raise AutoReconnect

    await fleet.database[PARTITIONS].update_one({"_id": "b/1"}, {"$set": {"owner": None}})
    monkeypatch.setattr(Leases, "acquire", lose_the_reply)
    with pytest.raises(AutoReconnect):
        await a.round()
    monkeypatch.undo()
    await a.round()
    assert {lease.token for lease in a.drained if str(lease.partition) == "b/1"} == {1, 2}


async def test_a_token_that_its_owner_has_raised_is_no_lost_lease(fleet: Fleet) -> None:
    a = fleet.start("a")
    await a.round()
    await fleet.database[PARTITIONS].update_many({}, {"$inc": {"token": 3}})
    leased = await a.round()
    assert (leased.lost, leased.held) == (0, 7)
    a.leaser.leave()
    await a.round()
    await a.round()
    assert await fleet.owners() == {None: 7}


async def test_a_dead_relay_is_replaced_although_the_servers_clock_was_set_back(fleet: Fleet, clock: Clock) -> None:
    """By that clock its leases last for an hour still, and it counts in the fair share as long."""
    a, b, c = fleet.start("a"), fleet.start("b"), fleet.start("c")
    await fleet.rounds(a, b, c)
    an_hour: list[Document] = [{"$set": {"expires_at": {"$add": ["$$NOW", 3600_000]}}}]
    await fleet.database[PARTITIONS].update_many({"owner": "a"}, an_hour)
    await fleet.database[RELAYS].update_many({"_id": "a"}, an_hour)
    await fleet.rounds(b, c)
    clock.now += SECONDS - 1
    await fleet.rounds(b, c)
    assert (await fleet.owners())["a"] in (2, 3)
    clock.now += 2
    await fleet.rounds(b, c)
    assert sorted((await fleet.owners()).values()) == [3, 4]


@pytest.mark.parametrize("token", [-1, 10**14, 10**15, Int64(2**63 - 1), 1.0])
async def test_a_lease_without_a_sound_token_is_none(fleet: Fleet, token: Any) -> None:
    """Its partition stands still until somebody has made it anew; the others are drained."""
    await fleet.database[PARTITIONS].update_one({"_id": "b/1"}, {"$set": {"token": token}})
    await fleet.rounds(fleet.start("a"))
    assert await fleet.owners() == {"a": 6, None: 1}


async def test_a_relay_that_renews_its_leases_keeps_them_whatever_the_servers_clock_does(
    fleet: Fleet, clock: Clock
) -> None:
    a, b = fleet.start("a"), fleet.start("b")
    await fleet.rounds(a, b)
    before = await fleet.owners()
    for _ in range(5):
        clock.now += SECONDS - 1
        leased = [await a.round(), await b.round()]
        assert [one.lost + one.given_back + one.acquired for one in leased] == [0, 0]
    assert await fleet.owners() == before

"""The number of a stream's partitions changes while programs append by the earlier one and the new one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from outbox import Outbox, Streams
from outbox.database import OUTBOX, RELAYS, STREAMS
from outbox.operations import registration
from outbox.operations.registration import NotNow
from outbox.protocol.store import Store
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Partition, Stream
from tests.faults.relays import in_this_process
from tests.relay.load import append
from tests.relay.test_declarations import ORDERS, all_owned, entered, none_pending, owners, settings, world
from tests.relay.world import World
from tests.waiting import eventually

__all__ = ["settings", "world"]


async def test_a_message_waits_for_earlier_ones_of_its_key_in_another_partition(world: World) -> None:
    few, many = (Streams([Stream("orders", "shop", partitions=number)]) for number in (4, 7))
    key = next(key for key in map(str, range(99)) if _number(few, key) != _number(many, key))
    old, new = (Outbox(streams, database=world.database.name) for streams in (few, many))
    first = await append(world, old, "orders", key)
    second = await append(world, new, "orders", key)
    third = await append(world, old, "orders", key)
    store, beside = Store(world.database), range(7)

    async def fetched(streams: Streams) -> tuple[list[Any], bool]:
        async with world.client.start_session(causal_consistency=True) as session:
            partition = Partition("orders", _number(streams, key))
            found = await store.fetch(partition, session, limit=10, max_bytes=10**6, beside=beside)
            return [message.id for message in found.messages], found.waits

    assert await fetched(many) == ([], True)
    assert await fetched(few) == ([first], True)
    await world.database[OUTBOX].update_one({"_id": first}, {"$set": {"state": "published"}})
    assert await fetched(many) == ([second], False)
    assert await fetched(few) == ([], True)
    await world.database[OUTBOX].update_one({"_id": second}, {"$set": {"state": "published"}})
    assert await fetched(few) == ([third], False)


def _number(streams: Streams, key: str) -> int:
    return streams["orders"].partition_of(key)


@pytest.mark.slow
async def test_partitions_are_changed_while_programs_with_both_numbers_append(
    world: World, settings: OutboxSettings
) -> None:
    """A key has a writer of each kind, by turns, as behind a load balancer during a roll-out."""
    committed: defaultdict[str, list[str]] = defaultdict(list)
    old = Outbox(Streams([ORDERS]), database=world.database.name)

    async def write(key: str, *outboxes: Outbox) -> None:
        for number in range(60):
            outbox = outboxes[number % len(outboxes)]
            committed[key].append(str(await append(world, outbox, "orders", key)))

    keys = [f"key-{n}" for n in range(10)]
    async with in_this_process(settings), in_this_process(settings):
        await eventually(lambda: all_owned(world.database, by=2), 20, what="both have their share")
        before = [asyncio.create_task(write(key, old)) for key in keys]
        await registration.change_partitions(world.database, "orders", 7)
        await asyncio.gather(*before)
        new = Outbox(Streams([Stream("orders", "shop", partitions=7)]), database=world.database.name)
        await new.check(world.client)
        await old.check(world.client)  # an earlier number is no wrong declaration
        await asyncio.gather(*(write(key, old, new) for key in keys))
        await eventually(lambda: none_pending(world), 30, what="all published")
    assert await entered(world.redis, "orders") == committed
    assert len([id_ for id_ in await owners(world.database) if "orders" in id_]) == 7


async def test_partitions_are_not_changed_while_a_relay_of_the_version_before_runs(world: World) -> None:
    await world.database[RELAYS].insert_one({"_id": "old"})
    await world.database[RELAYS].update_one({}, [{"$set": {"expires_at": {"$add": ["$$NOW", 60_000]}}}])
    before = await world.database[STREAMS].find().to_list()
    with pytest.raises(NotNow, match="upgrade old first"):
        await registration.change_partitions(world.database, "orders", 7)
    assert await world.database[STREAMS].find().to_list() == before


async def test_partitions_are_not_changed_before_every_relay_has_noticed(world: World) -> None:
    known = [{"stream": "orders", "revision": 1}]
    await world.database[RELAYS].insert_one({"_id": "slow", "streams": ["orders"], "revisions": known})
    await world.database[RELAYS].update_one({}, [{"$set": {"expires_at": {"$add": ["$$NOW", 60_000]}}}])
    with pytest.raises(NotNow, match="slow have not noticed"):
        await registration.change_partitions(world.database, "orders", 7, seconds=0)
    [orders] = await world.database[STREAMS].find({"_id": "orders"}).to_list()
    assert orders["partitions"] == 4
    await world.database[RELAYS].update_one({}, {"$set": {"revisions.0.revision": orders["revision"]}})
    assert await registration.change_partitions(world.database, "orders", 7, seconds=0)

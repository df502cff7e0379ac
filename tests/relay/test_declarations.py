"""Relays that drain different streams; streams that are registered, changed and removed while relays run."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox import Outbox, Streams
from outbox.database import OUTBOX, PARTITIONS, RELAYS, STREAMS, Database, Document
from outbox.errors import SchemaError
from outbox.message import schema
from outbox.operations import registration
from outbox.operations.registration import NotNow
from outbox.protocol import ownership
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream
from outbox.streams.registry import read, register
from outbox_relay.advice import Advice
from outbox_relay.declarations import Declarations
from outbox_relay.shares import shares
from tests.faults.relays import as_a_process, in_this_process
from tests.relay.load import Load, Watch, append
from tests.relay.world import World, a_world
from tests.strategies import examples
from tests.waiting import eventually

LEASE_SECONDS = 4.0
ORDERS, INVOICES = Stream("orders", "shop", partitions=4), Stream("invoices", "accounts", partitions=4)
NAMES = ("orders", "invoices", "exports")


@examples(100)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 20), min_size=1),
    st.dictionaries(st.text(min_size=1), st.frozensets(st.sampled_from(NAMES)), min_size=1, max_size=6),
)
def test_every_partition_is_in_the_share_of_a_relay_that_drains_its_stream(
    partitions: dict[str, int], relays: dict[str, frozenset[str]]
) -> None:
    drained = {stream for drains in relays.values() for stream in drains} & partitions.keys()
    mine = {relay: shares(partitions, relays, relay) for relay in relays}
    assert sum(each.partitions for one in mine.values() for each in one) == sum(partitions[name] for name in drained)
    for relay, own in mine.items():
        assert all(each.streams <= relays[relay] for each in own)


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis, [ORDERS]) as made:
        await register(made.database, [INVOICES])  # as another service does
        yield made


@pytest.fixture
def settings(mongodb_uri: str, database: str, redis_url: str) -> OutboxSettings:
    return load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)


async def owners(database: Database) -> dict[str, str | None]:
    return {one["_id"]: one["owner"] async for one in database[PARTITIONS].find()}


async def all_owned(database: Database, *, by: int) -> bool:
    found = set((await owners(database)).values())
    return None not in found and len(found) == by


async def entered(redis: Redis, stream: str) -> dict[str, list[str]]:
    """The messages of each key, in the order of their entries."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    entries: Any = await redis.xrange(stream)
    for _, fields in entries:
        found[fields["k"]].append(fields["message_id"])
    return dict(found)


async def none_pending(world: World) -> bool:
    return await world.database[OUTBOX].find_one({"state": "pending"}) is None


@asynccontextmanager
async def a_relay_of_invoices(settings: OutboxSettings, log: Path, *, killed: bool) -> AsyncIterator[None]:
    """One that drains that stream alone; at the end it is stopped, or it dies without giving anything back."""
    if not killed:
        async with in_this_process(settings, relay_lease_seconds=LEASE_SECONDS, relay_streams="invoices"):
            yield
        return
    declared = [{"name": "invoices", "group": "accounts", "partitions": 4}]
    environment = {
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(), "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": settings.redis_dsn, "OUTBOX_STREAMS": json.dumps(declared), "OUTBOX_RELAY_STREAMS": "invoices",
    }  # fmt: skip
    with as_a_process(log, environment, relay_lease_seconds=LEASE_SECONDS):
        yield


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["stopped", "killed"])
async def test_a_relay_with_other_streams_joins_and_leaves_under_load(
    killed: bool, world: World, settings: OutboxSettings, tmp_path: Path
) -> None:
    both = Outbox(Streams([ORDERS, INVOICES]), database=world.database.name)
    loads = [Load(world, both, name, [f"{name}-{n}" for n in range(8)]) for name in ("orders", "invoices")]
    watch = Watch(world.database)
    async with in_this_process(settings, relay_lease_seconds=LEASE_SECONDS):
        await eventually(lambda: all_owned(world.database, by=1), 20, what="one relay has all")
        running = [asyncio.create_task(load.run()) for load in loads]
        watching = asyncio.create_task(watch.run())
        for _ in range(2):
            async with a_relay_of_invoices(settings, tmp_path / "relay.log", killed=killed):
                await eventually(lambda: all_owned(world.database, by=2), 20, what="both have their share")
                assert len({owner for id_, owner in (await owners(world.database)).items() if "orders" in id_}) == 1
                documents = (
                    await world.database[RELAYS].find().to_list()
                )  # that of one that was killed, too, for a while
                assert {tuple(sorted(one["streams"])) for one in documents} == {("invoices",), ("invoices", "orders")}
            await eventually(lambda: all_owned(world.database, by=1), 20, what="the first one has all again")
        watching.cancel()
        for load in loads:
            load.stopped.set()
        await asyncio.gather(*running)
        await eventually(lambda: none_pending(world), 30, what="all published")
    assert watch.longest <= LEASE_SECONDS
    for load, name in zip(loads, ("orders", "invoices"), strict=True):
        assert await entered(world.redis, name) == load.committed


async def test_a_stream_that_is_registered_later_is_drained_without_a_restart(
    world: World, settings: OutboxSettings
) -> None:
    async with in_this_process(settings):
        await eventually(lambda: all_owned(world.database, by=1), 20, what="one relay has all")
        outbox = Outbox(Streams([Stream("exports", "exporters", partitions=2)]), database=world.database.name)
        assert await outbox.register(world.client)
        id_ = str(await append(world, outbox, "exports", "k"))
        await eventually(lambda: world.redis.xlen("exports"), 20, what="it is published")
        assert await entered(world.redis, "exports") == {"k": [id_]}
        await eventually(lambda: none_pending(world), 10)
        await world.database[OUTBOX].delete_many({})
        await registration.remove(world.database, "exports")
        await eventually(lambda: all_owned(world.database, by=1), 20)
    assert not [id_ for id_ in await owners(world.database) if "exports" in id_]


async def test_a_relay_outlives_the_removal_of_the_only_stream_that_it_drains(
    world: World, settings: OutboxSettings
) -> None:
    """It drains nothing meanwhile, and the stream again when it is registered anew."""
    async with in_this_process(settings, relay_streams="orders") as relay:

        def holds(partitions: int) -> bool:
            return bool(relay._leaser and relay._leaser.held == partitions)

        await eventually(lambda: holds(ORDERS.partitions), 20)
        await registration.remove(world.database, "orders")
        await eventually(lambda: holds(0), 20)
        # It may see that the leases are gone before it reads that the stream is.
        await eventually(lambda: world.database[RELAYS].find_one({"streams": []}), 20)
        await register(world.database, [ORDERS])
        await eventually(lambda: holds(ORDERS.partitions), 20)
        await append(world, world.outbox, "orders", "k")
        await eventually(lambda: none_pending(world), 20)
        assert len(await entered(world.redis, "orders")) == 1


async def test_a_relay_says_once_that_it_drains_nothing(world: World, settings: OutboxSettings) -> None:
    declarations = Declarations(world.database, settings, ["orders"])
    await ownership.own(world.database)
    await declarations.check()
    await registration.remove(world.database, "orders")
    await declarations.read()
    assert not declarations.streams
    advice = Advice(world.database, world.redis, declarations.streams)
    with capture_logs() as logs:
        for _ in range(2):
            [warning] = (await advice.run_once()).warnings
    assert "nothing is drained here" in warning
    assert [log["event"] for log in logs] == [warning]
    await register(world.database, [ORDERS])
    await declarations.read()
    assert [*declarations.streams] == ["orders"]
    assert not (await advice.run_once()).warnings


async def test_a_stream_that_was_removed_and_registered_anew_between_two_looks_is_what_it_is_now(
    world: World, settings: OutboxSettings
) -> None:
    declarations = Declarations(world.database, settings, [])
    await ownership.own(world.database)
    await declarations.check()
    await declarations.read()
    await registration.remove(world.database, "orders")
    anew = Stream("orders", "others", partitions=2)
    await register(world.database, [anew])
    await declarations.read()
    assert declarations.streams["orders"] == anew


async def test_pauses_are_known_beside_a_stream_that_cannot_be_understood(
    world: World, settings: OutboxSettings
) -> None:
    declarations = Declarations(world.database, settings, [])
    await ownership.own(world.database)
    await declarations.check()
    await world.database[STREAMS].insert_one({"_id": "later", "revision": 1, "group": "g", "partitions": "many"})
    await world.database[STREAMS].update_one({"_id": "orders"}, {"$set": {"paused": {"who": "somebody"}}})
    await declarations.read()
    assert declarations.registered.pauses.of(ORDERS)


@pytest.mark.parametrize(
    "odd",
    [
        {"_id": "s", "group": "g"}, {"_id": "s", "group": "g", "revision": "1"}, {"_id": "s", "revision": 1},
        {"_id": 7, "group": "g", "revision": 1}, {"_id": "s", "group": "g", "revision": 1, "subject": "x"},
        {"_id": "a b", "group": "g", "revision": 1}, {"_id": "s", "group": "g", "revision": 1, "partitions": 0},
        {"_id": {"a": 1}}, {"_id": "s", "group": "g", "revision": 1, "priorities": ["now"]},
        {"_id": "s", "group": "g", "revision": True},
    ],
    ids=str,
)  # fmt: skip
async def test_what_others_wrote_into_the_registry_is_named(world: World, odd: Document) -> None:
    await world.database[STREAMS].insert_one(odd)
    with pytest.raises(SchemaError, match="cannot be understood"):
        await read(world.database)


async def test_a_running_relay_goes_on_when_the_registry_cannot_be_read(world: World, settings: OutboxSettings) -> None:
    async with in_this_process(settings):
        await eventually(lambda: all_owned(world.database, by=1), 20, what="one relay has all")
        with capture_logs() as logs:
            odd = {"_id": "later", "revision": 1, "group": "g", "partitions": "many"}
            await world.database[STREAMS].insert_one(odd)
            await eventually(lambda: [one for one in logs if "cannot be read" in one["event"]], 20)
        await append(world, world.outbox, "orders", "k")
        await eventually(lambda: none_pending(world), 20)


async def test_what_is_not_done_keeps_a_stream_as_it_is(world: World) -> None:
    await append(world, world.outbox, "orders", "k")
    with pytest.raises(NotNow, match="1 pending"):
        await registration.remove(world.database, "orders")
    with pytest.raises(NotNow, match="1 pending"):
        await registration.change_as_declared(world.database, Stream("orders", "others", shards=2))
    await world.database[OUTBOX].delete_many({})
    assert await registration.change_as_declared(world.database, Stream("orders", "others", shards=2))
    assert "orders:1/3" in await owners(world.database)


async def test_a_relay_ends_when_another_outbox_is_made_in_the_place_of_its_own(
    world: World, mongo: AsyncMongoClient[Document]
) -> None:
    """Its messages would go out in the name of the first, and every program that is started later be refused there."""
    declarations = Declarations(world.database, load(OutboxSettings), [])
    await ownership.own(world.database)
    await declarations.read()
    await mongo.drop_database(world.database.name)
    with pytest.raises(SchemaError, match="has no outbox"):
        await declarations.read()
    await schema.ensure(Database(mongo, world.database.name), Streams([ORDERS]))
    with pytest.raises(SchemaError, match="made anew meanwhile: start this relay again"):
        await declarations.read()


async def test_a_relay_says_what_somebody_takes_from_the_schema_while_it_runs(world: World) -> None:
    advice = Advice(world.database, world.redis, Streams([ORDERS]))
    assert not (await advice.run_once()).warnings
    await world.database[OUTBOX].drop_index("pending")
    await world.database[PARTITIONS].drop()
    with capture_logs() as logs:
        for _ in range(2):
            [warning] = (await advice.run_once()).warnings
    assert "index outbox.pending is missing" in warning
    assert "collection outbox_partitions is missing" in warning
    assert [log["event"] for log in logs] == [warning]

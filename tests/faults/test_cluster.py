"""A cluster's client: each node fails by itself, and a slot may move to a node that was not there before."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

import pytest
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from outbox.delivery.entries import Entries
from outbox.embedded import RedisServer
from outbox.protocol.script import Script
from outbox.servers.cluster import Cluster
from outbox.servers.connections import connect_redis
from outbox.servers.outages import Trouble, classify
from outbox.servers.topology import on_one_connection
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream
from tests.faults.topologies import SLOTS, ThreePrimaries
from tests.slow import mostly
from tests.waiting import eventually, pass_by

THREE = ["alpha", "beta", "delta"]
"""Streams whose slots belong to three different primaries."""

TIMEOUT = 5
"""Seconds for a reply. A node that lives may not get its turn for some."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreePrimaries]:
    # A primary without slots would become a replica.
    options = {"cluster-require-full-coverage": "no", "cluster-allow-replica-migration": "no"}
    with ThreePrimaries(tmp_path_factory.mktemp("cluster"), options=options) as servers:
        yield servers


@pytest.fixture
async def redis(cluster: ThreePrimaries) -> AsyncIterator[Cluster]:
    """A client that knows the layout as it is now."""
    for name in THREE:
        with cluster.owner(name).client() as client:
            client.flushall()
    async with connect_redis(load(OutboxSettings, redis_url=cluster.url), timeout_seconds=TIMEOUT) as client:
        for name in THREE:
            await client.xgroup_create(name, "workers", "0", mkstream=True)
        yield cast(Cluster, client)


async def test_a_slot_moves_to_a_node_that_the_client_does_not_know(cluster: ThreePrimaries, redis: Cluster) -> None:
    source, target = cluster.owner("alpha"), await asyncio.to_thread(cluster.join)
    entries, alpha = Entries(redis, "me"), Stream("alpha", "workers", 1)
    added = [str(await redis.xadd("alpha", {"n": "1"})) for _ in range(3)]
    slot = key_slot(b"alpha")
    with cluster.migrating(slot, target) as move_a_key:
        while move_a_key():
            pass
        # ASK: the source has the slot still, and the key is elsewhere. As several callers would, at the same time.
        assert await asyncio.gather(*(redis.xlen("alpha") for _ in range(30))) == [3] * 30
        assert [entry.id for entry in await entries.read([alpha], 2)] == added[:2]
        assert await entries.beat(alpha, added[:2]) == set()
        await redis.xadd("alpha", {"n": "2"})
    # MOVED, and not a word of it to those who ask.
    assert await asyncio.gather(*(redis.xlen("alpha") for _ in range(30))) == [4] * 30
    assert [entry.id for entry in await entries.read([alpha], 1, block_seconds=0.1)] == added[2:]
    assert [bool(entry) for entry in await entries.look(alpha, added)] == [True] * 3
    assert await entries.are_held(alpha, [(id_, id_) for id_ in (*added, "1-1")]) == [True, True, True, False]
    await asyncio.to_thread(cluster.migrate, slot, source)
    assert await redis.xlen("alpha") == 4


async def test_a_pipeline_that_is_redirected_finds_the_new_node_at_the_next_try(
    cluster: ThreePrimaries, redis: Cluster
) -> None:
    source, target = cluster.owner("alpha"), cluster.owner("beta")
    await asyncio.to_thread(cluster.migrate, key_slot(b"alpha"), target)
    [reply] = await on_one_connection(redis, "alpha", [("XLEN", "alpha")])
    assert classify(reply) is Trouble.OUTAGE
    assert await on_one_connection(redis, "alpha", [("XLEN", "alpha")]) == [0]
    await asyncio.to_thread(cluster.migrate, key_slot(b"alpha"), source)


async def test_keys_that_are_apart_while_a_slot_moves_are_waited_for(cluster: ThreePrimaries, redis: Cluster) -> None:
    source, target = cluster.owner("alpha"), cluster.owner("beta")
    await redis.xadd("{alpha}:other", {"n": "1"})
    with cluster.migrating(key_slot(b"alpha"), target) as move_a_key:
        assert move_a_key()
        with pytest.raises(RedisError) as caught:
            await Script("leave").run(redis, ["alpha", "{alpha}:other"], ["workers", "me"])
        assert classify(caught.value) is Trouble.OUTAGE
    await Script("leave").run(redis, ["alpha", "{alpha}:other"], ["workers", "me"])
    await asyncio.to_thread(cluster.migrate, key_slot(b"alpha"), source)


async def test_a_slot_that_nobody_has_is_the_trouble_of_its_own_keys_only(
    cluster: ThreePrimaries, redis: Cluster
) -> None:
    slot, owner = key_slot(b"alpha"), cluster.owner("alpha")
    # The owner first, which would tell the others again.
    for node in sorted(cluster.nodes, key=lambda node: node is not owner):
        with node.client() as client:
            client.execute_command("CLUSTER", "DELSLOTS", slot)
    try:
        for _ in range(3):
            with pytest.raises(RedisError) as caught:
                await redis.xlen("alpha")
            assert classify(caught.value) is Trouble.OUTAGE
            assert await redis.xlen("beta") == 0
        # One that starts now reads a layout with a hole.
        async with connect_redis(load(OutboxSettings, redis_url=cluster.url)) as another:
            assert await another.xlen("beta") == 0
            with pytest.raises(RedisConnectionError):
                await another.xlen("alpha")
    finally:
        with owner.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", slot)

    async def is_back() -> bool:
        try:
            return bool(await redis.exists("alpha"))
        except RedisError:
            return False

    await eventually(is_back)


@pytest.mark.parametrize("how", mostly(["killed", "hangs"], but=["killed"]))
async def test_a_node_that_is_away_is_the_trouble_of_its_own_keys_only(
    cluster: ThreePrimaries, redis: Cluster, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    node = cluster.owner("alpha")
    others = [(name, cluster.owner(name)) for name in ("beta", "delta")]
    # One that hangs is looked for elsewhere when it has not answered in time.
    seconds = 4 if how == "killed" else TIMEOUT + 2
    await redis.ping()
    asking = asyncio.create_task(_ask_for_ever(redis, "alpha"))
    if how == "killed":
        node.kill()
    else:
        node.pause()
    try:
        began = time.monotonic()
        slowest = 0.0
        async with AsyncExitStack() as stack:
            clients = [(name, await stack.enter_async_context(_to(other))) for name, other in others]
            while time.monotonic() - began < seconds:
                for name, client in clients:
                    slowest = max(slowest, await _longer_than(client, _work(redis, name)))
        assert slowest < 1.5  # also on a busy machine, whose delays are not counted
    finally:
        if how == "killed":
            node.start()
        else:
            node.resume()
        asking.cancel()

    async def is_back() -> bool:
        try:
            return await redis.xlen("alpha") == 0
        except RedisError:
            return False

    await eventually(is_back, 15)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]  # "exception was never retrieved"


async def _work(redis: Cluster, name: str) -> None:
    """Without an error, also while the layout is looked for at the node that is away."""
    await redis.xreadgroup("workers", "me", {name: ">"}, count=1, block=10)
    await Script("leave").run(redis, [name], ["workers", "nobody"])
    assert await redis.ping()


def _to(node: RedisServer) -> Any:
    return connect_redis(load(OutboxSettings, redis_url=node.url), timeout_seconds=60)


async def _longer_than(client: Any, work: Coroutine[Any, Any, None]) -> float:
    """Seconds that `work` takes more than the longest answer of its node to `client` meanwhile: on a busy machine,
    either may not get its turn for a while.
    """
    began, longest = time.monotonic(), 0.0
    working = asyncio.create_task(work)
    while not working.done():
        asked = time.monotonic()
        await client.ping()
        await pass_by(0.005)
        longest = max(longest, time.monotonic() - asked)
    await working
    return time.monotonic() - began - longest


async def _ask_for_ever(redis: Cluster, name: str) -> None:
    while True:
        with suppress(RedisError):
            await redis.xlen(name)
        await pass_by(0.01)


async def test_the_nodes_of_the_address_are_asked_again_when_all_others_are_gone(
    cluster: ThreePrimaries, redis: Cluster
) -> None:
    # As after a restart of all nodes under other addresses, of which the address has the names.
    manager = redis.nodes_manager
    gone, were = ClusterNode("127.0.0.1", 1, "primary", **manager.connection_kwargs), [*manager.nodes_cache.values()]
    manager.nodes_cache = {gone.name: gone}
    manager.slots_cache = {slot: [gone] for slot in range(SLOTS)}

    async def answers() -> bool:
        try:
            return await redis.xlen("beta") == 0
        except RedisError:
            return False

    await eventually(answers)
    for node in were:
        await node.disconnect()

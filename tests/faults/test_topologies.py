"""Redis as more than one server: under Sentinels, and as a cluster. The guarantees are the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.embedded import RedisServer
from outbox.operations import stats
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from tests.faults.elsewhere import Elsewhere, elsewhere
from tests.faults.history import Lost
from tests.faults.proxy import Proxy, Way
from tests.faults.scenario import STREAM
from tests.faults.sentinels import SentinelServer, Watched
from tests.faults.topologies import ThreePrimaries
from tests.waiting import eventually

THREE = ["alpha", "beta", "delta"]
"""Streams whose slots belong to three different primaries."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("watched")) as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreePrimaries]:
    with ThreePrimaries(tmp_path_factory.mktemp("cluster"), replicas=True) as servers:
        yield servers


@pytest.fixture
async def under_sentinels(
    watched: Watched, mongodb_uri: str, database: str, tmp_path: Path
) -> AsyncIterator[Elsewhere]:
    with watched.primary().client() as client:
        client.flushall()
    settings = {"mongodb_uri": mongodb_uri, "mongodb_database": database, "redis_url": watched.url}
    async with elsewhere(tmp_path, **settings) as scenario:
        yield scenario


@pytest.fixture
async def in_a_cluster(
    cluster: ThreePrimaries, mongodb_uri: str, database: str, tmp_path: Path
) -> AsyncIterator[Elsewhere]:
    for stream in THREE:
        with cluster.owner(stream).client() as client:
            client.flushall()
    settings = {"mongodb_uri": mongodb_uri, "mongodb_database": database, "redis_url": cluster.url}
    streams = [{"name": name, "group": "workers", "partitions": 2} for name in THREE]
    async with elsewhere(tmp_path, **settings, outbox_streams=streams) as scenario:
        yield scenario


async def test_a_primary_that_is_killed_is_followed_to_its_replica(
    under_sentinels: Elsewhere, watched: Watched
) -> None:
    scenario, first = under_sentinels, watched.primary()
    async with scenario.relay(relay_confirm="replica"):
        async with scenario.appending():
            await eventually(lambda: under_way(scenario, 50))
            await asyncio.to_thread(watched.kill, first)
            second = await asyncio.to_thread(watched.primary)
            assert second is not first
            # Nothing can be confirmed while there is no replica.
            await asyncio.to_thread(watched.follow, first)
            await eventually(lambda: under_way(scenario, 200), 30)
        # No loss is excused: what was marked was confirmed by the server that took over.
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_a_failover_by_hand_publishes_nothing_twice(under_sentinels: Elsewhere, watched: Watched) -> None:
    scenario = under_sentinels
    async with scenario.relay(relay_confirm="replica"):
        async with scenario.appending():
            await eventually(lambda: under_way(scenario, 50))
            old = watched.primary()
            # From now on there are two primaries, and relays go on talking to the old one, until it has to follow.
            watched.hears(old, sentinels=False)
            new = await asyncio.to_thread(watched.fail_over)
            await eventually(lambda: only_at(scenario, old, new), what="the old primary takes what will be lost")
            await asyncio.to_thread(watched.follow, old)
            await eventually(lambda: under_way(scenario, 200), 30)
        await scenario.comes_to_rest(30)
    await scenario.stays_at_rest()


async def test_a_stale_replica_that_sentinels_promote_is_found_out(
    under_sentinels: Elsewhere, watched: Watched
) -> None:
    scenario, first, second = under_sentinels, watched.primary(), watched.replica()
    async with scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        with second.client() as client:
            # Not promoted before it has been seen what it has.
            client.config_set("replica-priority", 0)
            await eventually(lambda: client.xlen(STREAM) == 20)
            client.replicaof("127.0.0.1", 1)  # it hears no more
            watched.hears(second, sentinels=False)
        await scenario.append_many(30)
        await scenario.comes_to_rest()
        before = (await scenario.everything(first))[STREAM]
        await asyncio.to_thread(watched.kill, first)
        survived = (await scenario.everything(second))[STREAM]
        assert (len(before), len(survived)) == (50, 20)
        scenario.history.add(Lost(_ids(survived), _ids(before)))
        watched.hears(second, sentinels=True)
        with second.client() as client:
            client.replicaof("127.0.0.1", first.port)
            client.config_set("replica-priority", 100)
        await scenario.comes_to_rest(30)
        assert await asyncio.to_thread(watched.primary) is second
        assert scenario.told("redis data loss recovered", "error")
        await asyncio.to_thread(watched.follow, first)
    await scenario.stays_at_rest()


async def test_streams_of_a_cluster_are_drained_wherever_they_are(
    in_a_cluster: Elsewhere, cluster: ThreePrimaries
) -> None:
    assert len({cluster.owner(stream) for stream in THREE}) == 3
    async with in_a_cluster.relay():
        for stream in THREE:
            await in_a_cluster.append_to(stream, *(f"{stream}-{n % 5}" for n in range(40)))
        await in_a_cluster.comes_to_rest()
    for stream, entries in (await in_a_cluster.everything()).items():
        with cluster.owner(stream).client() as client:
            assert client.xlen(stream) == len(entries) == 40
    async with connect_redis(in_a_cluster.settings) as redis:

        async def reachable() -> stats.Queue | None:  # within two seconds, which a busy machine may take once
            found = await stats.queue(redis, in_a_cluster.streams)
            return found if found.reachable else None

        queue = await eventually(reachable)
    assert queue
    assert {name: (depth.length, depth.undelivered) for name, depth in queue.streams.items()} == dict.fromkeys(
        THREE, (40, 40)
    )
    assert queue.eviction_policy == "noeviction"


async def test_a_primary_of_a_cluster_is_killed_and_only_its_streams_wait(
    in_a_cluster: Elsewhere, cluster: ThreePrimaries
) -> None:
    scenario, first = in_a_cluster, cluster.owner("alpha")
    async with scenario.relay(relay_confirm="replica"):
        await scenario.append_to("alpha", *(f"a{n % 5}" for n in range(30)))
        await scenario.comes_to_rest()
        await asyncio.to_thread(cluster.kill, first)
        await scenario.append_to("beta", *(f"b{n % 5}" for n in range(30)))
        await eventually(lambda: length(scenario, "beta", 30), 10)
        await scenario.append_to("alpha", *(f"a{n % 5}" for n in range(30)))
        assert await asyncio.to_thread(cluster.owner, "alpha") is not first
        await asyncio.to_thread(cluster.start, first)
        await scenario.comes_to_rest(30)
    await still_at_rest(scenario)


async def test_a_slot_is_moved_while_its_stream_is_written(in_a_cluster: Elsewhere, cluster: ThreePrimaries) -> None:
    scenario, source, target = in_a_cluster, cluster.owner("alpha"), cluster.owner("beta")
    async with scenario.relay():
        appending = asyncio.create_task(scenario.append_to("alpha", *(f"a{n % 5}" for n in range(200))))
        await eventually(lambda: length(scenario, "alpha", 50), 10)
        with cluster.migrating(key_slot(b"alpha"), target) as move_a_key:
            # Checkpoint and stream are apart for a while: no script can be run on them.
            assert move_a_key()
            await eventually(lambda: scenario.told("redis unavailable"), what="the relay waits")
        await appending
        await scenario.comes_to_rest(30)
        assert not scenario.told("redis unavailable", "error")
        assert await asyncio.to_thread(cluster.owner, "alpha") is target
    await asyncio.to_thread(cluster.migrate, key_slot(b"alpha"), source)
    await still_at_rest(scenario)


async def test_a_reply_that_a_cluster_lost_is_not_asked_for_again(cluster: ThreePrimaries) -> None:
    node = cluster.owner("alpha")
    async with Proxy((node.host, node.port)) as proxy:
        with node.client() as client:
            client.config_set("cluster-announce-port", proxy.port)
        async with connect_redis(load(OutboxSettings, redis_url=f"redis+cluster://{proxy.address}")) as redis:
            await redis.delete("alpha")
            proxy.rule(Way.LOSE_THE_REPLY, b"XADD")
            with pytest.raises(RedisConnectionError):
                await redis.xadd("alpha", {"once": "1"})
            assert await redis.xlen("alpha") == 1
        with node.client() as client:
            client.config_set("cluster-announce-port", 0)


async def test_a_reply_that_a_watched_primary_lost_is_not_asked_for_again(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.start()
    async with Proxy((redis_server.host, redis_server.port)) as proxy:
        with SentinelServer(tmp_path, name="sentinel", port=proxy.port, service="tasks", quorum=1) as sentinel:
            url = f"redis+sentinel://{sentinel.address}/tasks"
            async with connect_redis(load(OutboxSettings, redis_url=url)) as redis:
                await redis.delete("alpha")
                proxy.rule(Way.LOSE_THE_REPLY, b"XADD")
                with pytest.raises(RedisConnectionError):
                    await redis.xadd("alpha", {"once": "1"})
                assert await redis.xlen("alpha") == 1


async def under_way(scenario: Elsewhere, count: int) -> bool:
    return await scenario.database.outbox.count_documents({"state": "published"}) >= count


async def length(scenario: Elsewhere, stream: str, least: int) -> bool:
    return await scenario.database.outbox.count_documents({"stream": stream, "state": "published"}) >= least


async def still_at_rest(scenario: Elsewhere) -> None:
    """Another relay, which knows nothing of what was, finds nothing to do twice."""
    async with scenario.relay():
        for stream in THREE:
            await scenario.append_to(stream, "last-1", "last-2")
        await scenario.comes_to_rest(20)


async def only_at(scenario: Elsewhere, one: RedisServer, other: RedisServer) -> bool:
    """Whether the one has entries that the other has not."""
    there, elsewhere = (await scenario.everything(one))[STREAM], (await scenario.everything(other))[STREAM]
    # By the ids of entries: the same messages may have been published at the other one by now.
    return bool({id_ for id_, _ in there} - {id_ for id_, _ in elsewhere})


def _ids(entries: list[tuple[str, dict[str, str]]]) -> tuple[tuple[str, int], ...]:
    return tuple((fields["message_id"], int(fields["attempt"])) for _, fields in entries)

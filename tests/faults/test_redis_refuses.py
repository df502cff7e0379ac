"""Redis that answers with errors: waited out, or loud; no attempt is spent, and nothing counts as done that is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from bson import ObjectId
from redis.exceptions import BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.database import OUTBOX
from outbox.operations import stats
from tests.faults.history import Lost
from tests.faults.proxy import Way
from tests.faults.scenario import CHECKPOINTS, STREAM, Scenario
from tests.relay.test_start_and_stop import answers
from tests.slow import mostly
from tests.waiting import eventually

Fault = Callable[[Scenario], AbstractAsyncContextManager[None]]
NOWHERE = ("REPLICAOF", "127.0.0.1", 1)


@asynccontextmanager
async def readonly(scenario: Scenario) -> AsyncIterator[None]:
    await scenario.do(*NOWHERE)
    yield
    await scenario.do("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def masterdown(scenario: Scenario) -> AsyncIterator[None]:
    await scenario.do("CONFIG", "SET", "replica-serve-stale-data", "no")
    await scenario.do(*NOWHERE)
    yield
    await scenario.do("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def noreplicas(scenario: Scenario) -> AsyncIterator[None]:
    await scenario.do("CONFIG", "SET", "min-replicas-to-write", 1)
    yield
    await scenario.do("CONFIG", "SET", "min-replicas-to-write", 0)


@asynccontextmanager
async def out_of_memory(scenario: Scenario) -> AsyncIterator[None]:
    """With noeviction, as it must be."""
    await scenario.do("CONFIG", "SET", "maxmemory", 1)
    yield
    await scenario.do("CONFIG", "SET", "maxmemory", 0)


@asynccontextmanager
async def misconf(scenario: Scenario) -> AsyncIterator[None]:
    """Snapshots fail, as on a full disk: their file cannot take its place."""
    obstacle = scenario.redis.data_dir / "dump.rdb" / "in the way"
    obstacle.mkdir(parents=True)
    await scenario.do("CONFIG", "SET", "save", "3600 1")
    await scenario.do("BGSAVE")
    await eventually(lambda: _last_save(scenario, "err"))
    yield
    obstacle.rmdir()
    obstacle.parent.rmdir()
    await scenario.do("BGSAVE")
    await eventually(lambda: _last_save(scenario, "ok"))


async def _last_save(scenario: Scenario, status: str) -> bool:
    async with scenario.at_redis() as redis:
        return bool((await redis.info("persistence"))["rdb_last_bgsave_status"] == status)


@asynccontextmanager
async def busy(scenario: Scenario) -> AsyncIterator[None]:
    """Somebody's script does not end."""
    await scenario.do("CONFIG", "SET", "busy-reply-threshold", 50)
    async with scenario.at_redis(patience=60) as somebody, scenario.at_redis() as operator:
        await operator.ping()  # connected before: what a client says first of all is refused as well
        endless = asyncio.ensure_future(somebody.eval("while true do end", 0))

        async def is_busy() -> bool:
            try:
                await scenario.do("PING")
            except ResponseError as error:
                return str(error).startswith("BUSY")
            return False

        await eventually(is_busy)
        yield
        await operator.script_kill()
        with pytest.raises(ResponseError):
            await endless


@asynccontextmanager
async def noauth(scenario: Scenario) -> AsyncIterator[None]:
    """A password is set, and the relay's connections break."""
    async with scenario.at_redis() as operator:
        await operator.config_set("requirepass", "unknown to the relay")
        await operator.client_kill_filter(_type="normal", skipme=True)
        yield
        await operator.config_set("requirepass", "")


def noperm(*rules: str) -> Fault:
    @asynccontextmanager
    async def fault(scenario: Scenario) -> AsyncIterator[None]:
        async with scenario.at_redis() as operator:
            await operator.execute_command("ACL", "SETUSER", "default", *rules)  # type: ignore[no-untyped-call]
            yield
            await operator.execute_command(  # type: ignore[no-untyped-call]
                "ACL", "SETUSER", "default", "resetkeys", "~*", "+@all"
            )

    return fault


@asynccontextmanager
async def stream_of_another_type(scenario: Scenario) -> AsyncIterator[None]:
    await scenario.lose("SET", STREAM, "something else")
    yield
    await scenario.do("DEL", STREAM)


@asynccontextmanager
async def checkpoint_of_another_type(scenario: Scenario) -> AsyncIterator[None]:
    there = await scenario.survivors()
    for checkpoint in CHECKPOINTS:
        await scenario.do("SET", checkpoint, "something else")
    yield
    await scenario.do("DEL", *CHECKPOINTS)
    scenario.history.add(Lost(there, there))


WAITED_OUT: dict[str, tuple[Fault, str]] = {
    "READONLY": (readonly, "ReadOnlyError"),
    "MASTERDOWN": (masterdown, "MasterDownError"),
    "NOREPLICAS": (noreplicas, "NOREPLICAS"),
    "OOM": (out_of_memory, "OutOfMemoryError"),
    "MISCONF": (misconf, "MISCONF"),
    "BUSY": (busy, "BUSY"),
}
LOUD: dict[str, Fault] = {
    "NOAUTH": noauth,
    "NOPERM for scripts": noperm("-eval", "-evalsha"),
    "NOPERM for XADD inside of scripts": noperm("-xadd"),
    "NOPERM for the keys": noperm("resetkeys", "~others:*"),
    "WRONGTYPE of the stream": stream_of_another_type,
    "WRONGTYPE of the checkpoints": checkpoint_of_another_type,
}


@pytest.mark.parametrize("error", mostly(WAITED_OUT, but={"READONLY", "OOM", "BUSY"}))
async def test_an_error_that_passes_is_waited_out(scenario: Scenario, error: str) -> None:
    fault, told = WAITED_OUT[error]
    await waits(scenario, fault, "warning", told)


@pytest.mark.parametrize("error", mostly(LOUD, but={"NOAUTH", "NOPERM for scripts", "WRONGTYPE of the stream"}))
async def test_an_error_that_an_operator_must_mend_is_loud(scenario: Scenario, error: str) -> None:
    await waits(scenario, LOUD[error], "error")


async def waits(scenario: Scenario, fault: Fault, level: str, told: str = "") -> None:
    async with scenario.relay():
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        async with fault(scenario):
            waiting = await scenario.append_many(10)
            await eventually(lambda: has_told(scenario, level, told), what=f"{level} is told")
            await nothing_counts_as_done(scenario, waiting)
        await scenario.comes_to_rest()
        await eventually(lambda: scenario.told("redis available again"))
    await scenario.stays_at_rest()


def has_told(scenario: Scenario, level: str, error: str) -> bool:
    """Perhaps not as the first one: on a slow machine, a command may have timed out before."""
    return any(error in one for one in scenario.errors_told("redis unavailable", level))


async def test_what_relays_are_refused_is_named_where_operators_look(scenario: Scenario) -> None:
    async def named(*expected: tuple[str, str]) -> bool:
        async with scenario.at_redis() as redis:
            status = await stats.collect(scenario.database, redis, scenario.settings.streams)
        # Whoever only reads sees nothing else of a Redis that is full.
        return [(one.server, one.what.partition(" (")[0]) for one in status.obstacles] == list(expected)

    async with scenario.relay(relay_lease_seconds=2):
        async with out_of_memory(scenario):
            await scenario.append_many(10)
            await eventually(lambda: named(("redis", "Redis is full")), what="what the relay waits for is named")
        await eventually(named)  # nothing any more
        await scenario.comes_to_rest()


async def nothing_counts_as_done(scenario: Scenario, waiting: list[str]) -> None:
    these = {"_id": {"$in": [ObjectId(id_) for id_ in waiting]}}
    states = [(str(m["_id"]), m["state"], m["attempts"]) async for m in scenario.database[OUTBOX].find(these)]
    assert sorted(states) == sorted((id_, "pending", 0) for id_ in waiting)


SCRIPTED = [
    "LOADING Redis is loading the dataset in memory",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED 866 127.0.0.1:1",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "ERR max number of clients reached",
    "EXECABORT Transaction discarded because of previous errors.",
]


@pytest.mark.parametrize("answer", mostly(SCRIPTED, but=SCRIPTED[::3]), ids=lambda answer: answer.split()[0])
async def test_an_error_that_comes_from_the_network(scenario: Scenario, answer: str) -> None:
    """The same for errors that a real server gives only in the rarest moments."""

    @asynccontextmanager
    async def fault(scenario: Scenario) -> AsyncIterator[None]:
        scenario.to_redis.rule(Way.ANSWER, b"evalsha", times=10**6, answer=f"-{answer}\r\n".encode())
        yield
        scenario.to_redis.heal()

    # MOVED is no trouble that passes: relays that are told of a cluster never see it.
    await waits(scenario, fault, "error" if answer.startswith(("MOVED", "EXECABORT")) else "warning")


async def is_loading(scenario: Scenario) -> bool:
    try:
        await scenario.do("PING")
    except BusyLoadingError:
        return True
    except RedisConnectionError:
        return False  # not even that yet
    return False


SLOW_START = {"appendonly": "no", "key-load-delay": "1000", "loading-process-events-interval-bytes": "1024"}


@pytest.mark.parametrize("scenario", [SLOW_START], indirect=True, ids=["slow"])
async def test_a_redis_that_is_loading(scenario: Scenario) -> None:
    """Killed, and started with so many keys that it takes twenty seconds to read them, unless it is let off."""
    async with scenario.relay():
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        await scenario.do("EVAL", "for n = 1, 20000 do redis.call('SET', n, n) end", 0)
        await scenario.do("SAVE")
        scenario.redis.kill()
        starting = asyncio.create_task(asyncio.to_thread(scenario.redis.start))
        waiting = await scenario.append_many(10)
        await eventually(lambda: is_loading(scenario))
        await nothing_counts_as_done(scenario, waiting)
        await scenario.do("CONFIG", "SET", "key-load-delay", 0)
        await starting
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


@pytest.mark.parametrize("scenario", [{"cluster-enabled": "yes"}], indirect=True, ids=["cluster"])
async def test_a_cluster_without_slots(scenario: Scenario) -> None:
    async with scenario.relay():
        waiting = await scenario.append_many(10)
        await eventually(lambda: has_told(scenario, "warning", "ClusterDownError"))
        await nothing_counts_as_done(scenario, waiting)
        await scenario.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_redis_that_halts(scenario: Scenario) -> None:
    """As a machine does whose memory is swapped out: connections stay, and what was sent is answered much later."""
    async with scenario.relay(redis_patience=0.5):
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        scenario.redis.pause()
        waiting = await scenario.append_many(10)
        await eventually(lambda: scenario.told("redis unavailable"))
        await nothing_counts_as_done(scenario, waiting)
        scenario.redis.resume()
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


@pytest.mark.parametrize("scenario", [{"maxmemory-policy": "allkeys-lru"}], indirect=True)
async def test_a_server_that_drops_streams_when_it_is_full_is_warned_about_at_the_start(scenario: Scenario) -> None:
    """And in the details of readiness, as long as it is so; everything works meanwhile."""
    async with scenario.relay() as relay:
        await eventually(lambda: scenario.told("the eviction policy of Redis is allkeys-lru", "warning"))
        await scenario.append_many(5)
        await scenario.comes_to_rest()
        # Not at any moment: its leases are short, and on a slow machine one may just be renewed late.
        ready = await answers(relay._listen.getsockname()[1], "/readyz", 200)
        assert "allkeys-lru" in ready["warnings"][0]

"""What real relays do is a path of the model: processes that are killed, put to sleep and let down by their servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from outbox.database import RELAYS
from outbox.embedded import Mongod, RedisServer
from tests.conformance.path import check
from tests.conformance.real import Real
from tests.conformance.recorded import Recorder
from tests.faults.proxy import Proxy, Way
from tests.faults.relays import RelayProcess, as_a_process
from tests.model import world as model
from tests.model.rules import Bounds
from tests.relay.world import World
from tests.waiting import eventually

BATCH = 3
BOUNDS = Bounds(
    keys=(0,) * (5 * BATCH + 3), early=0, tail=True, group=32, batch=BATCH, page=99, acquires=99, troubles=99, losses=1
)


class Run:
    """One record of all that relays, client and Redis do."""

    def __init__(self, world: World, to_redis: Proxy, to_mongo: Proxy, folder: Path) -> None:
        self.world, self.to_redis, self.to_mongo = world, to_redis, to_mongo
        self.record = folder / "record"
        self._folder = folder
        self._recorder = Recorder(self.record)
        self._real = Real(world, BOUNDS)
        self.seen: dict[str, model.World] = {}
        self._place = {
            "MONGODB_URI": f"mongodb://{to_mongo.address}/?directConnection=true",
            "MONGODB_DATABASE": world.database.name,
            "REDIS_URL": f"redis://{to_redis.address}/0",
        }

    def relay(self, name: str) -> AbstractContextManager[RelayProcess]:
        log, place = self._folder / f"{name}.log", self._place
        return as_a_process(log, place, "tests.conformance.recorded", str(self.record), outbox_relay_batch_size=BATCH)

    async def append(self, count: int) -> None:
        for _ in range(count):
            id_ = self._recorder.sent("append")
            [message] = await self.world.append("a")
            self._real._ids[len(self._real._ids)] = message
            self._recorder.answered(id_, outcome="done", message=message)

    async def flush(self) -> None:
        id_ = self._recorder.sent("flushall")
        await self.world.redis.flushall()
        self._recorder.answered(id_, outcome="done")

    async def at_rest(self) -> None:
        """All is published and marked; then what is there is compared, too."""

        async def done() -> bool:
            states = set((await self.world.states()).values())
            return states == {"published"} and len(await self.world.stream()) == len(self._real._ids)

        await eventually(done, 30)
        id_ = self._recorder.sent("seen")
        self.seen[id_] = await self._real.seen()
        self._recorder.answered(id_, outcome="done")

    async def owned_by(self, relay: RelayProcess) -> bool:
        """Whether this process holds the partition."""
        owner = await self.world.database[RELAYS].find_one({"_id": (await self.world.lease())["owner"]})
        return owner is not None and owner["pid"] == relay.pid


@pytest.fixture
async def run(world: World, mongod: Mongod, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Run]:
    async with Proxy((redis_server.host, redis_server.port)) as to_redis, Proxy((mongod.host, mongod.port)) as to_mongo:
        yield Run(world, to_redis, to_mongo, tmp_path)


async def test_what_relays_do_is_a_path_of_the_model(run: Run) -> None:
    with run.relay("first") as first, run.relay("second") as second:
        await run.append(2 * BATCH + 1)
        await run.at_rest()
        run.to_redis.rule(Way.LOSE_THE_REPLY, b"message_id")
        await run.append(BATCH)
        await run.at_rest()
        await run.flush()
        await run.at_rest()

        # The owner sleeps until the other one has taken over, and goes on.
        owner, other = (first, second) if await run.owned_by(first) else (second, first)
        owner.pause()
        await run.append(1)
        await eventually(lambda: run.owned_by(other), 20, what="the other one takes over")
        owner.resume()
        await run.append(1)
        await run.at_rest()

        # A mark is on its way when its owner is killed, and arrives when the next one has taken over.
        run.to_mongo.rule(Way.HOLD, b"published_at")
        await run.append(1)
        await eventually(lambda: run.to_mongo.held, 20, what="a mark is sent")
        other.kill()
        await run.append(1)
        await eventually(lambda: run.owned_by(owner), 20, what="the first one takes over again")
        run.to_mongo.release()
        await run.append(BATCH)
        await run.at_rest()
    assert check(run.record, BOUNDS, run.seen) > 80

"""Redis does not undo what a script did before it fails: so what may fail in a publication is tried before it adds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pymongo import AsyncMongoClient
from redis.exceptions import ResponseError

from outbox.database import Document
from outbox.embedded import RedisServer
from outbox.servers import causes
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from tests.relay.world import STREAM, World, a_world

LAST_MILLISECOND = "18446744073709551615"


async def test_an_entry_of_others_under_the_last_id_lets_a_batch_in_whole_or_not_at_all(world: World) -> None:
    owner = await world.owner()
    await world.append("f1")
    await owner.drain_all()
    await world.redis.xadd(STREAM.name, {"of": "others"}, id=f"{LAST_MILLISECOND}-18446744073709551612")
    ids = await world.append("f2", "f3", "f4", "f5", "f6")
    for _ in range(2):
        with pytest.raises(ResponseError) as refused:
            await owner.drain_all()
        assert len(await world.entries()) == 2
    assert "Rename or delete the stream" in str(causes.explain(refused.value))
    await world.redis.rename(STREAM.name, "set aside")
    await owner.drain_all()
    assert [entry["message_id"] for entry in await world.entries()][-5:] == [str(id_) for id_ in ids]


async def test_an_entry_of_others_with_the_last_numbers_of_its_millisecond_lets_a_batch_in_whole(world: World) -> None:
    owner = await world.owner()
    await world.redis.xadd(STREAM.name, {"of": "others"}, id="99999999999999-18446744073709551613")
    ids = await world.append("f1", "f2", "f3", "f4")
    await owner.drain_all()
    assert [entry.get("message_id") for entry in await world.entries()] == [None, *map(str, ids)]


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("rights")) as server:
        yield server


@pytest.fixture
async def alone(mongo: AsyncMongoClient[Document], database: str, own_redis: RedisServer) -> AsyncIterator[World]:
    async with (
        connect_redis(load(OutboxSettings, redis_url=own_redis.url)) as redis,
        a_world(mongo, database, redis) as world,
    ):
        yield world


@pytest.mark.parametrize("rule", ["-hset", "-xadd"])
async def test_a_right_that_is_taken_away_while_the_relay_runs_doubles_nothing(
    alone: World, own_redis: RedisServer, rule: str
) -> None:
    owner = await alone.owner()
    await alone.append("f1")
    await owner.drain_all()
    await alone.append("f2", "f3")
    with own_redis.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", rule)
        for _ in range(2):
            with pytest.raises(ResponseError) as refused:
                await owner.drain_all()
            assert "lacks a permission" in causes.explain(refused.value).what
        admin.execute_command("ACL", "SETUSER", "default", "+@all")
    assert await owner.drain_all() == 2
    assert [entry["file_id"] for entry in await alone.entries()] == ["f1", "f2", "f3"]

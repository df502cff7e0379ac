"""An owner dies at each point of a pass: the next one finds everything, once, in order (G1, G3, G4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.database import OUTBOX
from outbox.protocol.leases import Leases
from tests.relay.world import World


class Crash(Exception):
    """The process is gone at this point."""


def before(target: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    return lambda patch: patch.setattr(target, name, crash)


def after(target: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    original = getattr(target, name)

    async def crash(*args: Any, **options: Any) -> None:
        await original(*args, **options)
        raise Crash

    return lambda patch: patch.setattr(target, name, crash)


CRASH_POINTS = {
    "before fetch": lambda world: before(world.store, "fetch"),
    "after fetch": lambda world: after(world.store, "fetch"),
    "before publish": lambda world: before(world.checkpoints, "publish"),
    "after send, before the reply": lambda world: after(world.checkpoints, "publish"),
    "before the lease advances": lambda world: before(Leases, "hold"),
    "after the lease has advanced, before mark": lambda world: before(world.store, "mark_all"),
    "after mark": lambda world: after(world.store, "mark_all"),
    "during recovery: after open": lambda world: after(world.checkpoints, "open"),
}


@pytest.mark.parametrize("point", CRASH_POINTS)
async def test_every_message_is_there_once_and_in_order_after_a_crash(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    ids = [str(id_) for id_ in await world.append(*(f"f{n % 2}" for n in range(10)))]
    first = await world.owner("first", relay_batch_size=1)  # several batches a fetch, and three fetches
    if not point.startswith("during"):
        await first.drain()
    with monkeypatch.context() as patch:
        CRASH_POINTS[point](world)(patch)
        with pytest.raises(Crash):
            await first.drain_all()
    second = await world.owner("second", relay_batch_size=4)
    await second.drain_all()
    assert await world.published_ids() == ids
    assert {entry["attempt"] for entry in await world.entries()} == {"1"}  # nothing was taken for lost
    assert set((await world.states()).values()) == {"published"}


async def test_half_a_mark_is_finished_by_the_next_owner(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.append("f1", "f2")
    first = await world.owner("first")
    original = world.database[OUTBOX].update_many

    async def half(query: Any, update: Any, **options: Any) -> None:
        await original({**query, "_id": {"$in": query["_id"]["$in"][:1]}}, update, **options)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(world.store._messages, "update_many", half)
        with pytest.raises(Crash):
            await first.drain()
    assert sorted((await world.states()).values()) == ["pending", "published"]
    assert await (await world.owner("second")).drain_all() == 0
    assert len(await world.entries()) == 2
    assert set((await world.states()).values()) == {"published"}


async def test_a_lost_reply_is_found_out_by_the_same_owner(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.append("f1", "f2")
    owner = await world.owner()
    original = world.checkpoints.publish

    async def lose_the_reply(*args: Any, **options: Any) -> None:
        await original(*args, **options)
        raise RedisConnectionError("Connection closed by server.")

    with monkeypatch.context() as patch:
        patch.setattr(world.checkpoints, "publish", lose_the_reply)
        with pytest.raises(RedisConnectionError):
            await owner.drain()
    await owner.drain_all()
    assert len(await world.entries()) == 2

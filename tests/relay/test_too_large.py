"""A message that has no room for a change stops none of those that Redis lost with it (G1, G5)."""

from __future__ import annotations

import pytest
from bson import ObjectId
from structlog.testing import capture_logs

from outbox.database import OUTBOX
from outbox.message.document import State
from outbox.message.poison import TOO_FULL
from tests.giants import fill_up
from tests.relay.world import STREAM, Owner, World, notice

KEYS = ("f1", "f2", "f3", "f4", "f5")


async def published(world: World) -> tuple[Owner, list[ObjectId]]:
    """Five messages, of which the third has no room since it was published."""
    owner = await world.owner()
    ids = await world.append(*KEYS)
    await owner.drain_all()
    await fill_up(world.database[OUTBOX], ids[2])
    return owner, ids


async def reason(world: World, id_: ObjectId) -> str:
    found = await world.database[OUTBOX].find_one({"_id": id_})
    assert found
    assert found["state"] == "dead"
    return str(found["last_error"])


async def test_the_others_come_again_and_it_is_dead_with_a_reason(world: World) -> None:
    owner, ids = await published(world)
    await world.redis.flushall()
    with capture_logs() as logs:
        assert await notice(owner) == 4
    assert await world.published_ids() == [str(id_) for id_ in ids if id_ != ids[2]]
    assert TOO_FULL in await reason(world, ids[2])
    assert [line["reasons"] for line in logs if line["event"] == "messages marked dead"] == [[TOO_FULL]]
    [told] = [line for line in logs if "data loss" in line["event"]]
    assert (told["recovered"], told["settled"]) == (4, 0)
    later = await world.append("f6")
    await owner.drain_all()
    assert (await world.published_ids())[-1] == str(later[0])


async def test_the_others_are_completed_when_they_are_settled(world: World) -> None:
    owner, ids = await published(world)
    await world.settle(*KEYS)
    await world.redis.flushall()
    assert await notice(owner) == 0
    states = await world.states()
    assert [states[id_] for id_ in ids] == ["completed", "completed", "dead", "completed", "completed"]


@pytest.mark.parametrize("gone", [True, False], ids=["checkpoint gone", "checkpoint there"])
@pytest.mark.parametrize("state", [State.PUBLISHED, State.PENDING])
async def test_those_that_survived_are_kept(world: World, state: State, gone: bool) -> None:
    """Redis has them; where its checkpoint is gone, they are looked for in the stream."""
    owner, ids = await published(world)
    messages = world.database[OUTBOX]
    # As if what the mark of it adds had never arrived.
    unmarked = {"state": state.value, "attempts": 1 if state is State.PUBLISHED else 0}
    await messages.update_one({"_id": ids[2]}, {"$unset": {"junk": "", "entries": ""}, "$set": unmarked})
    await fill_up(messages, ids[2])
    if gone:
        await world.redis.delete(STREAM.checkpoint_key(0))
        assert await notice(owner) == 0
    else:
        owner = await world.owner()
    await owner.drain_all()
    states = await world.states()
    fate = "dead" if gone or state is State.PENDING else "published"
    assert [states[id_] for id_ in ids] == ["published", "published", fate, "published", "published"]
    assert await world.published_ids() == [str(id_) for id_ in ids]
    if fate == "dead":
        assert TOO_FULL in await reason(world, ids[2])

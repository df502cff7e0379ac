"""A single field of a checkpoint is deleted, or expires, and nothing is doubled by it: G4."""

from __future__ import annotations

from typing import Any

import pytest

from tests.relay.world import STREAM, World

FIELDS = ["token", "batch", "tag", "previous", "messages", "first", "last", "marker"]


@pytest.mark.parametrize("field", FIELDS)
async def test_after_a_crash_what_was_published_and_not_marked_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    owner = await world.owner()
    await world.append("f1")
    await owner.drain_all()
    ids = [*await world.states(), *await world.append("f2")]

    async def crash(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(world.store, "mark", crash)
    with pytest.raises(ConnectionError):
        await owner.drain_all()
    monkeypatch.undo()
    assert sorted((await world.states()).values()) == ["pending", "published"]
    assert await world.redis.hdel(STREAM.checkpoint_key(0), field)
    await (await world.owner("next")).drain_all()
    assert await world.published_ids() == [str(id_) for id_ in ids]
    assert set((await world.states()).values()) == {"published"}

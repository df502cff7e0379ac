"""Entries that others removed before anybody was given them, ahead of a long backlog."""

from __future__ import annotations

from typing import Any

import pytest

from outbox.delivery.vanished import Vanished
from outbox.message.outcome import Found
from outbox.worker.rescue import Rescue
from tests.relay.silence import Clock
from tests.relay.ward import BARE, Ward
from tests.relay.world import PARTITION


async def test_a_walk_that_took_long_is_not_made_again_at_once(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, walks, walk = Clock(), list[float](), Vanished._never_given

    async def slowly(*args: Any) -> Any:
        clock.now += 2
        walks.append(clock.now)
        return await walk(*args)

    monkeypatch.setattr("outbox.delivery.vanished.time", clock)
    monkeypatch.setattr(Vanished, "_never_given", slowly)
    rescue = Rescue(ward.world.database, ward.redis)
    ids = await ward.publish(5)
    await ward.redis.xdel(BARE.key, ids[3])
    assert await rescue.vanished(BARE, PARTITION) == Found(rescued=1)
    await ward.redis.xdel(BARE.key, ids[1])
    clock.now += 39
    assert await rescue.vanished(BARE, PARTITION) == Found()
    clock.now += 1
    assert await rescue.vanished(BARE, PARTITION) == Found(rescued=1)
    assert len(walks) == 2

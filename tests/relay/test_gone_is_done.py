"""A stream whose workers delete what they have done: what is gone is done, unless it was lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from outbox.delivery import places
from outbox.message.outcome import Found
from outbox.worker.rescue import Rescue
from tests.relay.ward import BARE, Ward
from tests.relay.world import PARTITION


@pytest.mark.parametrize("again", [True, False], ids=["a relay has looked", "no relay has looked"])
async def test_what_redis_loses_during_a_look_is_not_done(
    again: bool, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = places.find

    async def lost(*arguments: Any) -> Any:
        await ward.redis.flushall()
        if again:
            await ward.drain()
        else:
            await ward.redis.xgroup_create(BARE.key, BARE.group, id="0", mkstream=True)
        return await find(*arguments)

    await ward.publish(3)
    await ward.read(3)
    monkeypatch.setattr(places, "find", lost)
    gone_is_done = replace(BARE, gone_is_done=True, rescue_seconds=1)
    assert await Rescue(ward.world.database, ward.redis).vanished(gone_is_done, PARTITION) == Found()
    assert await ward.states() == "ppp"

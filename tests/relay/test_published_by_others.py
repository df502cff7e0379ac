"""What others have written as published, whatever it looks like, does not keep a partition from recovering (G5, G8)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outbox.database import OUTBOX
from outbox.protocol.losses import NO_OBJECT_ID
from tests.faults.poison import DRAINED, document, with_another
from tests.relay.world import World, notice

PUBLISHED = {"state": "published", "batch": 1, "tag": "t", "attempts": 1}
LEFT_OUT = ("as large as can be", "attempts twice")
"""The first are in test_too_large. Under the last one, MongoDB 6.0 itself ends, whoever computes its new attempts."""
ODD: dict[str, Any] = {
    **{name: made for name, made in DRAINED.items() if not any(words in name for words in LEFT_OUT)},
    "a name twice in an id": document(_id=with_another("key", "other")),
}
EACH = {name: [made] for name, made in ODD.items() if name.endswith(" id")}


@pytest.mark.parametrize("made", [*EACH.values(), [*ODD.values()]], ids=[*EACH, "all of them"])
async def test_it_does_not_hold_up_a_recovery(world: World, made: list[Any]) -> None:
    [lost] = await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    await world.database[OUTBOX].insert_many(made, bypass_document_validation=True)
    other = {"_id": {"$ne": lost}}
    await world.database[OUTBOX].update_many(other, {"$set": PUBLISHED}, bypass_document_validation=True)
    await world.redis.flushall()
    async with asyncio.timeout(20):
        await notice(owner)
        [later] = await world.append("f2")
        await owner.drain_all()
    others = {"_id": {"$not": {"$type": "objectId"}}}
    found = await world.database[OUTBOX].find(others, {"_id": 0, "last_error": 1}).to_list()
    assert all(one["last_error"] == NO_OBJECT_ID for one in found)
    assert {str(lost), str(later)} <= set(await world.published_ids())
    assert not await world.database[OUTBOX].count_documents({"state": "pending"})

"""What is recorded of batches that are marked together: each message has the entries of its own batch (G1, G4)."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest
from bson import ObjectId
from pymongo.errors import BulkWriteError

from outbox.database import OUTBOX
from outbox.message.document import Sent
from outbox.message.outcome import Found
from outbox.protocol.store import Mark
from outbox.streams.entry_ids import Range
from tests.relay.ward import NAME, Ward
from tests.relay.world import World

EVERYWHERE = Range("1-0", "9-0", mixed=True)
ALONE = Range("1-0", "1-0").record


async def test_what_is_removed_in_the_midst_of_batches_that_were_marked_together_comes_again(ward: Ward) -> None:
    """Their entries follow one another in time only, and those of other partitions stand between them."""
    ids = await ward.publish(8, batch_size=1)
    found = await ward.world.database[OUTBOX].find().sort("key").to_list()
    assert [message["entries"] for message in found] == [{"first": id_, "last": id_} for id_ in ids]
    given = await ward.read(2)
    await ward.ack(*given)
    await ward.redis.xdel(NAME, given[0], *ids[2:4])
    assert await ward.rescue() == Found(rescued=2)
    assert await ward.states() == "ppwwpppp"


@pytest.mark.parametrize("attempt", [1, 2], ids=["of the same attempt", "of another attempt"])
async def test_what_a_mark_before_has_reached_is_no_batch_of_its_own(attempt: int, world: World) -> None:
    """Or the entries of the rest would count as missing in it. Where it stands alone, that is known still."""
    ids = await world.append("f1", "f2", "f3")
    await world.database[OUTBOX].update_one({"_id": ids[2]}, {"$set": {"attempts": attempt - 1}})
    for id_, last in ((ids[0], "1-1"), (ids[1], "1-0")):
        reached = {"state": "published", "attempts": 1, "entries": Range("1-0", last).record}
        await world.database[OUTBOX].update_one({"_id": id_}, {"$set": reached})
    sent = [Sent(ids[0], 1), Sent(ids[1], 1), Sent(ids[2], attempt)]
    assert await _mark(world, sent, EVERYWHERE) == 1
    assert await _recorded(world, ids) == [EVERYWHERE.record, ALONE, EVERYWHERE.record]


async def test_what_was_marked_before_keeps_its_batch(world: World) -> None:
    """As when a partition is opened again, and all that its checkpoint names is marked already."""
    [id_] = await world.append("f1")
    reached = {"state": "published", "attempts": 1, "entries": Range("1-0", "1-1").record}
    await world.database[OUTBOX].update_one({"_id": id_}, {"$set": reached})
    assert await _mark(world, [Sent(id_, 1)], EVERYWHERE) == 0
    assert await _recorded(world, [id_]) == [Range("1-0", "1-1").record]


async def test_an_error_that_is_not_about_room_is_raised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [id_] = await world.append("f1")
    stepped_down = {"writeErrors": [{"index": 0, "code": 11602, "errmsg": "InterruptedDueToReplStateChange"}]}
    failed = AsyncMock(side_effect=BulkWriteError({**stepped_down, "writeConcernErrors": []}))
    owner, session = await world.owner(), world.client.start_session(causal_consistency=True)
    held = await owner.leases.hold(owner.lease, session, intent=[id_])
    monkeypatch.setattr(type(world.store._messages), "bulk_write", failed)
    with pytest.raises(BulkWriteError):
        await world.store.mark_all([Mark(held, [Sent(id_, 1)], Range("1-0", "1-0"))], session)


async def _mark(world: World, sent: Sequence[Sent], entries: Range) -> int:
    owner, session = await world.owner(), world.client.start_session(causal_consistency=True)
    held = await owner.leases.hold(owner.lease, session, intent=[one.id for one in sent])
    return await world.store.mark(held, session, sent, entries)


async def _recorded(world: World, ids: Sequence[ObjectId]) -> list[object]:
    found = {message["_id"]: message async for message in world.database[OUTBOX].find()}
    return [found[id_]["entries"] for id_ in ids]

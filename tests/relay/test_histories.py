"""A server goes back to an older copy, or another history: nothing is lost by it, and nothing is confused (G5)."""

from __future__ import annotations

import pytest

from outbox.database import OUTBOX, PARTITIONS
from outbox.errors import LookAgain
from outbox.protocol.checkpoint import Opened
from outbox_relay.drained import Outcome
from tests.relay.ward import Ward
from tests.relay.world import PARTITION, STREAM, World, notice

CHECKPOINT = STREAM.checkpoint_key(0)


async def test_an_older_copy_of_a_stream_is_noticed_although_somebody_has_added_to_it_since(world: World) -> None:
    """It ends later than what was known, and begins with entries that were there: the count alone tells."""
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    copy = (await world.remember())[STREAM.name]
    lost = await world.append("f2", "f3")
    await owner.drain_all()
    everything = await world.remember()
    await world.restore({**everything, STREAM.name: copy})
    await world.redis.xadd(STREAM.name, {"by": "others"})
    await (await world.owner("next")).drain_all()
    published = [entry["message_id"] for entry in await world.entries() if "message_id" in entry]
    assert published[1:] == [str(id_) for id_ in lost]


async def test_a_search_of_the_stream_counts_only_while_nothing_changes(world: World) -> None:
    """Its first pages would tell of a history, and its last ones of another."""
    await world.append("f1", "f2")
    owner = await world.owner()
    await owner.drain_all()
    copy = await world.remember()
    await world.append("f3")
    await owner.drain_all()
    opened = await world.checkpoints.open(PARTITION, owner.lease.token)
    assert isinstance(opened, Opened)
    pages = world.checkpoints.scan(PARTITION, owner.lease.token, opened, page=1)
    found, _ = await anext(pages)
    assert len(found) == 1
    await world.restore(copy)
    with pytest.raises(LookAgain):
        await anext(pages)


async def test_a_history_that_comes_back(world: World) -> None:
    """Split brain: the old primary took a batch, the new one did not, and later the old one is primary again."""
    owner = await world.owner()
    await world.append("f1")
    await owner.drain_all()
    fork = await world.remember()
    await world.append("f2")
    await owner.drain_all()
    old_primary = await world.remember()
    await world.restore(fork)
    await world.append("f3")
    await notice(owner)  # f2 again, and f3, both in the new history's batches
    assert [entry["file_id"] for entry in await world.entries()] == ["f1", "f2", "f3"]
    await world.restore(old_primary)  # f1 and f2 under attempt 1; f3 was never here
    await owner.drainer.close()
    await owner.drain_all()
    files = [entry["file_id"] for entry in await world.entries()]
    assert sorted(set(files)) == ["f1", "f2", "f3"]
    assert files.count("f1") == 1
    assert set((await world.states()).values()) == {"published"}


async def test_a_batch_ahead_in_another_history_is_not_taken_for_an_unmarked_one(world: World) -> None:
    owner = await world.owner(relay_batch_size=1)
    await world.append("f1")
    await owner.drain_all()
    fork = await world.remember()
    await world.append("f2", "f3")
    await owner.drain_all()
    other = await world.remember()  # batches 2 (f2) and 3 (f3)
    await world.restore(fork)
    await world.settle("f3")
    [new] = await world.append("f4")
    await notice(owner)  # batches 2 (f2) and 3 (f4); f3 is settled
    await world.restore(other)
    number = int(await world.redis.hget(CHECKPOINT, "batch") or 0)
    await world.database[PARTITIONS].update_one({"_id": str(PARTITION)}, {"$set": {"batch": number - 1}})
    await owner.drainer.close()
    await owner.drain_all()
    assert str(new) in await world.published_ids()


async def test_mongodb_goes_back(world: World) -> None:
    """A restored backup has as pending what is in the stream already: it is not published again."""
    owner = await world.owner(relay_batch_size=1)
    ids = [str(id_) for id_ in await world.append("f1", "f2", "f3")]
    messages = await world.database[OUTBOX].find().to_list()
    leases = await world.lease()
    await owner.drain_all()
    await world.database[OUTBOX].delete_many({})
    await world.database[OUTBOX].insert_many(messages)
    await world.database[PARTITIONS].replace_one({"_id": str(PARTITION)}, {**leases, "token": 0, "owner": None})
    restored = await world.owner("restored")
    for _ in range(3):  # its token is behind Redis's, and is raised above it
        if (await restored.drain()).outcome is not Outcome.LEASE_LOST:
            break
        restored = await world.owner("restored")
    await restored.drain_all()
    assert await world.published_ids() == ids
    assert set((await world.states()).values()) == {"published"}


async def test_what_workers_did_since_a_backup_of_mongodb_is_done_again_when_the_stream_is_deleted(ward: Ward) -> None:
    """As docs/upgrades.md says: what they wrote is gone, and Redis shows their entries as acknowledged."""
    database = ward.world.database
    await ward.publish(3)
    await ward.world.append("f003", "f004")
    backup = {name: await database[name].find().to_list() for name in (OUTBOX, PARTITIONS)}
    await ward.drain()
    await ward.publish(2, first=5)
    await ward.ack(*await ward.read(9))
    await ward.look()
    assert await ward.states() == "ccccccc"
    for name, documents in backup.items():
        await database[name].delete_many({})
        await database[name].insert_many(documents)
    await ward.redis.delete(STREAM.name)
    await ward.drain()
    assert await ward.states() == "ppppp"
    assert sorted(await ward.world.published_ids()) == sorted(str(message["_id"]) for message in backup[OUTBOX])

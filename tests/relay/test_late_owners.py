"""An owner acts late or twice: its token, its fences and the batch make what is out of date do nothing (G1, G3, G4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from bson import ObjectId

from outbox.database import OUTBOX
from outbox.errors import LookAgain
from outbox.message.document import Sent
from outbox.protocol.checkpoint import Fenced, Opened, Published
from outbox.protocol.fences import TokenTooLow
from outbox.protocol.leases import Held, LeaseLost, Progress
from outbox.protocol.store import Mark
from outbox.streams.entry_ids import Range
from outbox_relay.drained import Outcome
from tests.giants import fill_up
from tests.relay.world import PARTITION, STREAM, Owner, World

SOMEWHERE = Range("1-0", "1-0")


async def test_the_same_batch_sent_twice_is_there_once(world: World) -> None:
    await world.append("f1", "f2")
    owner = await world.owner()
    await owner.drain()
    messages = (await _fetched(world, owner, await world.append("f3"))).messages
    before = (await world.lease())["tag"]
    batch = Progress(3, "tag")
    once = await world.checkpoints.publish(PARTITION, owner.lease.token, batch, messages, after=before)
    again = await world.checkpoints.publish(PARTITION, owner.lease.token, batch, messages, after=before)
    assert isinstance(once, Published)
    assert not once.repeated
    assert again == Published(once.first, once.last, True)
    assert len(await world.entries()) == 3


async def test_an_owner_that_wakes_up_late_cannot_publish(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.append("f1", "f2")
    sleeper = await world.owner("sleeper")
    original = world.checkpoints.publish

    async def sleep_before_publish(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        assert await (await world.owner("next")).drain_all() == 2
        return await original(*args, **options)

    monkeypatch.setattr(world.checkpoints, "publish", sleep_before_publish)
    assert (await sleeper.drain()).outcome is Outcome.REFUSED
    assert (await sleeper.drain()).outcome is Outcome.LEASE_LOST
    assert len(await world.entries()) == 2


async def test_a_token_shuts_out_the_ones_before_it(world: World) -> None:
    """Even when the batch follows: what the late owner fetched may be out of date."""
    await world.append("f1")
    sleeper = await world.owner("sleeper")
    fetched = await _fetched(world, sleeper, await world.states())
    opened = await world.checkpoints.open(PARTITION, sleeper.lease.token)
    assert isinstance(opened, Opened)
    await world.checkpoints.stamp(PARTITION, sleeper.lease.token, Progress(1, "first"), opened)
    assert isinstance(await world.checkpoints.open(PARTITION, sleeper.lease.token + 1), Opened)
    late = await world.checkpoints.publish(
        PARTITION, sleeper.lease.token, Progress(2, "tag"), fetched.messages, after="first"
    )
    assert late == Fenced(sleeper.lease.token + 1)
    assert await world.checkpoints.open(PARTITION, sleeper.lease.token) == Fenced(sleeper.lease.token + 1)
    assert await world.entries() == []


async def test_an_owner_that_wakes_up_late_cannot_advance(world: World) -> None:
    sleeper = await world.owner("sleeper")
    await sleeper.drain()
    before = await world.progress()
    await world.owner("next")
    with pytest.raises(LeaseLost):
        await sleeper.leases.hold(sleeper.lease, _session(world, sleeper), Progress(2, "tag"), after=before)
    assert await world.progress() == before


async def test_a_lease_that_does_not_stand_where_it_was_left_stays_there(world: World) -> None:
    """An advance that was given up, and carried out when its owner has looked again, would undo what it did since."""
    owner = await world.owner()
    await owner.drain()
    before = await world.progress()
    await world.append("f1")
    await owner.drain()
    reached = await world.progress()
    with pytest.raises(LookAgain):
        await owner.leases.hold(owner.lease, _session(world, owner), Progress(2, "given up"), after=before)
    assert await world.progress() == reached


async def test_an_owner_that_wakes_up_late_cannot_mark(world: World) -> None:
    """It slept between the lease and the mark, and Redis lost the batch: marked now, it would never come again (G1)."""
    [id_] = await world.append("f1")
    sleeper = await world.owner("sleeper")
    held = await _about_to_mark(world, sleeper, id_)
    await world.redis.flushall()
    next_ = await world.owner("next")
    await next_.drainer._reconcile()
    with pytest.raises(TokenTooLow):
        await world.store.mark(held, _session(world, sleeper), [Sent(id_, 1)], SOMEWHERE)
    assert (await world.states())[id_] == "pending"
    await next_.drain_all()
    assert await world.published_ids() == [str(id_)]


async def test_an_owner_that_gave_up_a_mark_is_not_overtaken_by_it(world: World) -> None:
    """A mark carried out after its own sender has looked again would mark what was found to be lost (G1)."""
    [id_] = await world.append("f1")
    owner = await world.owner()
    held = await _about_to_mark(world, owner, id_)
    await world.redis.flushall()
    await owner.drainer.close()  # as after any error
    await owner.drainer._reconcile()
    with pytest.raises(TokenTooLow):
        await world.store.mark(held, _session(world, owner), [Sent(id_, 1)], SOMEWHERE)
    assert (await world.states())[id_] == "pending"
    await owner.drain_all()
    assert await world.published_ids() == [str(id_)]


async def test_a_mark_that_changes_fewer_messages_than_it_should_is_not_taken_for_done(world: World) -> None:
    """MongoDB's leases were made anew, so that tokens start over: what an old one has fenced is published once."""
    ids = await world.append("f1", "f2", "f3")
    await world.database[OUTBOX].update_many({"_id": {"$in": ids[:2]}}, {"$set": {"fence": 1000}})
    owner = await world.owner()
    outcomes = [(await owner.drain()).outcome for _ in range(3)]
    assert outcomes == [Outcome.REFUSED, Outcome.EMPTY, Outcome.EMPTY]
    assert owner.lease.token > 1000
    assert await world.published_ids() == [str(id_) for id_ in ids]
    assert set((await world.states()).values()) == {"published"}


async def test_a_fenced_message_keeps_none_of_another_attempt_from_its_mark(world: World) -> None:
    ids = await world.append("f1", "f2")
    await world.database[OUTBOX].update_one({"_id": ids[0]}, {"$set": {"attempts": 1, "fence": 1000}})
    owner = await world.owner()
    held = await _about_to_mark(world, owner, *ids)
    with pytest.raises(TokenTooLow):
        await world.store.mark(held, _session(world, owner), [Sent(ids[0], 2), Sent(ids[1], 1)], SOMEWHERE)
    assert await world.states() == {ids[0]: "pending", ids[1]: "published"}


async def test_a_fenced_message_keeps_none_of_another_attempt_from_being_kept(world: World) -> None:
    ids = await world.append("f1", "f2")
    await world.database[OUTBOX].update_one({"_id": ids[0]}, {"$set": {"fence": 1000}})
    await world.database[OUTBOX].update_one({"_id": ids[1]}, {"$set": {"attempts": 1}})
    owner = await world.owner()
    session = _session(world, owner)
    held = await owner.leases.hold(owner.lease, session, intent=ids)
    with pytest.raises(TokenTooLow):
        await world.losses.keep(held, session, Progress(7, "end"), [Sent(ids[0], 1), Sent(ids[1], 2)], SOMEWHERE)
    assert await world.states() == {ids[0]: "pending", ids[1]: "published"}


async def test_a_worker_that_is_faster_than_the_mark_is_no_reason_to_look_again(world: World) -> None:
    ids = await world.append("f1", "f2")
    owner = await world.owner()
    held = await _about_to_mark(world, owner, *ids)
    done = {"$set": {"state": "completed", "attempts": 1}}
    await world.database[OUTBOX].update_one({"_id": ids[0]}, done)
    assert await world.store.mark(held, _session(world, owner), [Sent(id_, 1) for id_ in ids], SOMEWHERE) == 1


async def test_one_that_has_no_room_for_its_mark_is_left_to_whoever_marks_one_batch(world: World) -> None:
    ids = await world.append("f1", "f2")
    owner = await world.owner()
    held, session = await _about_to_mark(world, owner, *ids), _session(world, owner)
    await fill_up(world.database[OUTBOX], ids[0])
    marks = [Mark(held, [Sent(id_, 1)], SOMEWHERE) for id_ in ids]
    assert await world.store.mark_all(marks, session) is False
    with pytest.raises(LookAgain, match="no room"):
        await world.store.mark(held, session, marks[0].sent, SOMEWHERE)
    assert await world.states() == {ids[0]: "dead", ids[1]: "published"}


async def test_an_owner_that_wakes_up_late_cannot_take_back(world: World) -> None:
    [id_] = await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    session = _session(world, owner)

    async def sleep_after_hold(ids: Sequence[ObjectId]) -> Held:
        held = await owner.leases.hold(owner.lease, session, intent=ids)
        await (await world.owner("next")).drain_all()
        return held

    with pytest.raises(TokenTooLow):
        await world.losses.take_back(PARTITION, sleep_after_hold, session, {"batch": {"$gt": 0}})
    assert (await world.states())[id_] == "published"


async def test_an_owner_that_wakes_up_late_cannot_keep(world: World) -> None:
    """What it has found in the stream is lost since, and taken back by the next owner: kept now, it would be lost."""
    [id_] = await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    session = _session(world, owner)
    held = await owner.leases.hold(owner.lease, session, intent=[id_])
    await world.redis.flushall()
    next_ = await world.owner("next")
    await next_.drainer._reconcile()
    with pytest.raises(TokenTooLow):
        await world.losses.keep(held, session, Progress(7, "end"), [Sent(id_, 1)], SOMEWHERE)
    assert (await world.states())[id_] == "pending"


async def test_only_messages_of_the_partition_are_fenced(world: World) -> None:
    """A search of the stream finds those of all partitions, whose tokens have nothing to do with each other."""
    [id_] = await world.append("f1")
    await world.database[OUTBOX].update_one({"_id": id_}, {"$set": {"partition": 7}})
    owner = await world.owner()
    await owner.drain()
    await owner.leases.hold(owner.lease, _session(world, owner), intent=[id_])
    await (await world.owner("next")).drain()
    message = await world.database[OUTBOX].find_one({"_id": id_})
    assert message
    assert "fence" not in message


async def test_what_was_fetched_by_an_owner_that_is_none_any_more_is_not_published(world: World) -> None:
    """Redis may have gone back to where the old token counts; then it would be ahead of what comes before it (G3)."""
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    await world.append("f2")
    await world.owner("next")  # has not opened the partition yet
    assert (await owner.drain()).outcome is Outcome.LEASE_LOST
    assert len(await world.entries()) == 1


async def test_a_replay_between_publish_and_mark_is_not_undone_by_the_mark(world: World) -> None:
    [id_] = await world.append("f1")
    owner = await world.owner()
    here = (await owner.drainer._reconcile()).progress
    session = _session(world, owner)
    messages = (await _fetched(world, owner, [id_])).messages
    reached = Progress(2, "tag")
    await world.checkpoints.publish(PARTITION, owner.lease.token, reached, messages, after=here.tag)
    # A quick worker completes attempt 1, and an operator replays it, before it is marked.
    await world.database[OUTBOX].update_one({"_id": id_}, {"$set": {"state": "pending", "attempts": 1}})
    held = await owner.leases.hold(owner.lease, session, reached, after=here)
    assert await world.store.mark(held, session, [Sent(id_, 1)], SOMEWHERE) == 0
    assert (await world.states())[id_] == "pending"
    await owner.drain_all()
    assert [entry["attempt"] for entry in await world.entries()] == ["1", "2"]


async def test_a_lease_that_was_not_renewed_in_time_is_not_acted_upon(world: World) -> None:
    await world.append("f1")
    owner = await world.owner()
    owner.drainer._trusted = lambda: False
    assert (await owner.drain()).outcome is Outcome.LEASE_LOST
    assert await world.redis.xlen(STREAM.name) == 0


async def _about_to_mark(world: World, owner: Owner, *ids: ObjectId) -> Held:
    """Publish what is pending, and let the lease advance: only the mark is missing."""
    here = (await owner.drainer._reconcile()).progress
    messages = (await _fetched(world, owner, ids)).messages
    reached = Progress(here.batch + 1, "tag")
    await world.checkpoints.publish(PARTITION, owner.lease.token, reached, messages, after=here.tag)
    return await owner.leases.hold(owner.lease, _session(world, owner), reached, after=here, intent=ids)


def _session(world: World, owner: Owner) -> Any:
    owner.drainer._session = owner.drainer._session or world.client.start_session(causal_consistency=True)
    return owner.drainer._session


async def _fetched(world: World, owner: Owner, expected: Any) -> Any:
    fetched = await world.store.fetch(PARTITION, _session(world, owner), limit=100, max_bytes=10**6)
    assert [message.id for message in fetched.messages] == list(expected)
    return fetched

"""Redis has less than it had: noticed, and what was lost and is wanted comes again, once, under its id (G5)."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from outbox.database import OUTBOX
from outbox.errors import LookAgain
from outbox.operations import recoveries
from outbox.protocol import losses
from outbox.protocol.checkpoint import Opened
from outbox.protocol.leases import Progress
from outbox.streams.declaration import Partition
from outbox.streams.keys import record_key
from outbox_relay import recovery
from outbox_relay.busy import Busy
from outbox_relay.drained import Outcome
from outbox_relay.recovery import Verdict
from tests.relay.world import PARTITION, STREAM, World, notice

CHECKPOINT = STREAM.checkpoint_key(0)


async def test_everything_is_lost(world: World) -> None:
    ids = [str(id_) for id_ in await world.append("f1", "f2", "f3")]
    owner = await world.owner(relay_batch_size=1)
    await owner.drain_all()
    await world.redis.flushall()
    with capture_logs() as logs:
        assert await notice(owner) == 3
    assert await world.published_ids() == ids
    assert [entry["attempt"] for entry in await world.entries()] == ["1", "1", "1"]  # no outage spends any
    [told] = [line for line in logs if "data loss" in line["event"]]
    assert (told["recovered"], told["settled"], told["kept"]) == (3, 0, 0)
    [recorded] = await recoveries.latest(world.database)
    assert (recorded.partition, recorded.recovered, recorded.settled, recorded.kept) == (PARTITION, 3, 0, 0)


async def test_what_comes_back_in_many_pages_is_a_backlog_before_the_pass_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a change stream open, MongoDB looks once more at each of them: a seventh of its work then."""
    for module in (losses, recovery):
        monkeypatch.setattr(module, "PAGE", 2)
    met: list[Partition] = []
    busy = Busy()

    def many(partition: Partition) -> None:
        met.append(partition)
        busy.backlog(partition)

    await world.append("f1")
    owner = await world.owner(many=many)
    await owner.drain_all()
    await world.redis.flushall()
    assert await notice(owner) == 1
    assert met == []
    await world.append("f2", "f3", "f4", "f5")
    await owner.drain_all()
    await world.redis.flushall()
    assert await notice(owner) == 5
    assert set(met) == {PARTITION}
    assert busy.begun.is_set()


async def test_the_consumer_group_is_there_again(world: World) -> None:
    owner = await world.owner()
    await owner.drain()
    await world.redis.flushall()
    owner.drainer.doubt()
    await owner.drain()
    assert [group["name"] for group in await world.redis.xinfo_groups(STREAM.name)] == ["file_parsers"]


async def test_what_is_settled_is_not_published_again(world: World) -> None:
    _, wanted, _ = await world.append("f1", "f2", "f3")
    owner = await world.owner()
    await owner.drain_all()
    await world.settle("f1", "f3")
    await world.redis.flushall()
    assert await notice(owner) == 1
    assert await world.published_ids() == [str(wanted)]
    assert sorted((await world.states()).values()) == ["completed", "completed", "published"]


async def test_a_lost_tail_comes_again_and_what_survived_does_not(world: World) -> None:
    owner = await world.owner(relay_batch_size=2)
    kept = await world.append("f1", "f2", "f3")
    await owner.drain_all()
    copy = await world.remember()
    lost = await world.append("f4", "f5")
    await owner.drain_all()
    await world.restore(copy)
    assert await notice(owner) == 2
    assert await world.published_ids() == [str(id_) for id_ in (*kept, *lost)]


async def test_a_tail_is_found_although_everything_before_it_is_completed(world: World) -> None:
    owner = await world.owner()
    await world.append("f1")
    await owner.drain_all()
    await world.database[OUTBOX].update_many({}, {"$set": {"state": "completed"}})
    copy = await world.remember()
    [lost] = await world.append("f2")
    await owner.drain_all()
    await world.restore(copy)
    assert await notice(owner) == 1
    assert (await world.published_ids())[-1] == str(lost)


async def test_the_stream_alone_is_deleted(world: World) -> None:
    ids = await world.append("f1", "f2")
    owner = await world.owner()
    await owner.drain_all()
    await world.redis.delete(STREAM.name)
    assert await notice(owner) == 2
    assert await world.published_ids() == [str(id_) for id_ in ids]
    assert (await world.lease())["batch"] == 4  # the numbering goes on


async def test_a_deleted_stream_is_noticed_although_somebody_has_added_to_it_since(world: World) -> None:
    await world.append("f1", "f2")
    owner = await world.owner()
    await owner.drain_all()
    await world.redis.delete(STREAM.name)
    await world.redis.xadd(STREAM.name, {"file_id": "by hand"})
    assert await notice(owner) == 2


@pytest.mark.parametrize("put_back", [False, True])
async def test_a_deleted_stream_is_noticed_by_the_next_batch(world: World, put_back: bool) -> None:
    """Also after it was put back from a copy that has all of this partition, but not what others have added since."""
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    copy = (await world.remember())[STREAM.name]
    await world.redis.xadd(STREAM.name, {"file_id": "by hand"})
    owner.drainer.doubt()
    assert (await owner.drain()).outcome is Outcome.EMPTY
    await world.redis.delete(STREAM.name)
    if put_back:
        await world.restore({**await world.remember(), STREAM.name: copy})
    await world.append("f2")
    assert (await owner.drain()).outcome is Outcome.REFUSED
    await owner.drain_all()
    assert [entry["file_id"] for entry in await world.entries()] == ["f1", "f2"]


async def test_the_checkpoint_alone_is_deleted(world: World) -> None:
    ids = await world.append("f1", "f2")
    owner = await world.owner(relay_batch_size=1)
    await owner.drain_all()
    await world.redis.delete(CHECKPOINT)
    assert await notice(owner) == 0
    assert await world.published_ids() == [str(id_) for id_ in ids]
    later = await world.append("f3")
    await owner.drain_all()
    assert await world.published_ids() == [str(id_) for id_ in (*ids, *later)]


async def test_what_a_reconciliation_marks_has_its_entries_on_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.append("f1", "f2")
    owner = await world.owner()
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "mark", _crash)
        with pytest.raises(ConnectionError):
            await owner.drain_all()
    await (await world.owner("next")).drain_all()
    first, last = [id_ for id_, _ in await world.stream()]
    assert await _recorded(world) == [{"first": first, "last": last}] * 2


async def test_survivors_have_their_entries_on_record(world: World) -> None:
    """Also those that are found to be published and were never marked."""
    await world.append("f1", "f2")
    await (await world.owner()).drain_all()
    unmarked = {"$set": {"state": "pending", "attempts": 0}, "$unset": {"entries": ""}}
    await world.database[OUTBOX].update_one({"key": "f1"}, unmarked)
    await world.database[OUTBOX].update_one({"key": "f2"}, {"$set": {"entries": {"first": "1-0", "last": "1-0"}}})
    await world.redis.delete(CHECKPOINT)
    await (await world.owner("next")).drain_all()
    first, last = [id_ for id_, _ in await world.stream()]
    # Of all that was read: entries of other partitions may stand among them.
    assert await _recorded(world) == [{"first": first, "last": last, "mixed": True}] * 2


async def _recorded(world: World) -> list[object]:
    found = await world.database[OUTBOX].find({"state": "published"}).to_list()
    return [message.get("entries") for message in found]


async def _crash(*_: object) -> int:
    raise ConnectionError


async def test_a_recovery_does_not_end_in_a_stream_that_it_did_not_search(world: World) -> None:
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    opened = await world.checkpoints.open(PARTITION, owner.lease.token)
    assert isinstance(opened, Opened)
    await world.redis.delete(STREAM.name)
    with pytest.raises(LookAgain):
        await world.checkpoints.stamp(PARTITION, owner.lease.token, Progress(9, "end"), opened)


async def test_checkpoints_of_the_version_before_are_understood(world: World) -> None:
    """They had no marker, and each had the place of the stream to itself: nothing is lost, so nothing is recovered."""
    ids = [str(id_) for id_ in await world.append("f1", "f2")]
    owner = await world.owner()
    await owner.drain_all()
    info = await world.redis.xinfo_stream(STREAM.name)
    await world.redis.hdel(CHECKPOINT, "marker")
    await world.redis.hset(CHECKPOINT, "added", str(info["entries-added"]))
    await world.redis.delete(record_key(STREAM.name))
    newer = await world.owner("newer")
    drained = await newer.drain()
    assert drained.reconciled
    assert drained.reconciled.verdict is Verdict.SAME
    await world.redis.hdel(CHECKPOINT, "marker")
    await world.redis.delete(STREAM.name, record_key(STREAM.name))
    assert await notice(newer) == 2
    assert await world.published_ids() == ids


async def test_an_older_copy_of_a_stream_with_foreign_entries(world: World) -> None:
    await world.redis.xadd(STREAM.name, {"file_id": "by hand"})
    await world.redis.xadd(STREAM.name, {"message_id": "not an id", "attempt": "x"})
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    await world.redis.delete(CHECKPOINT)
    assert await notice(owner) == 0
    assert len(await world.entries()) == 3


async def test_a_crash_during_recovery_loses_and_repeats_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [str(id_) for id_ in await world.append(*(f"f{n}" for n in range(6)))]
    owner = await world.owner(relay_batch_size=2)
    await owner.drain_all()
    await world.redis.flushall()
    monkeypatch.setattr("outbox.protocol.losses.PAGE", 2)

    class Crash(Exception):
        pass

    for crash_after in (1, 2):
        calls = 0
        original = world.losses.take_back

        async def crash(*args: object, limit: int = crash_after, take_back: object = original) -> object:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise Crash
            return await take_back(*args)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            patch.setattr(world.losses, "take_back", crash)
            dying = await world.owner(f"dying {crash_after}")
            with pytest.raises(Crash):
                await dying.drain_all()
    await (await world.owner("last")).drain_all()
    assert await world.published_ids() == ids


async def test_a_lost_tail_is_noticed_by_the_next_batch(world: World) -> None:
    owner = await world.owner()
    await world.append("f1")
    await owner.drain_all()
    copy = await world.remember()
    await world.append("f2")
    await owner.drain_all()
    await world.restore(copy)
    await world.append("f3")
    assert (await owner.drain()).outcome is Outcome.REFUSED
    await owner.drain_all()
    assert [entry["file_id"] for entry in await world.entries()] == ["f1", "f2", "f3"]

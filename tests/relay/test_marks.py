"""What is published is marked later and together; until then the checkpoint names it."""

from __future__ import annotations

import pytest

from outbox.database import OUTBOX
from outbox.message import transitions
from outbox.message.document import Sent
from outbox.protocol.checkpoint import Fenced, Opened
from outbox.protocol.leases import Progress
from outbox.streams.entry_ids import Range
from outbox_relay import marks
from outbox_relay.drained import Outcome
from outbox_relay.recovery import Verdict
from tests.relay.test_tail import Watched, files, watched
from tests.relay.world import PARTITION, Owner, World
from tests.waiting import eventually


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the relay died before the next marks."""
    monkeypatch.setattr(marks, "SECONDS", 3600.0)


async def shown(world: World, watch: Watched, owner: Owner, *keys: str) -> list[str]:
    """Append messages that are published as they are shown, each as a batch of its own."""
    ids = []
    for key in keys:
        ids += await world.append(key)
        await watch.see()
        assert (await owner.drain()).published == 1
    return [str(id_) for id_ in ids]


async def test_what_is_shown_is_marked_soon(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        await shown(world, watch, owner, "f1", "f2")

        async def marked() -> bool:
            return set((await world.states()).values()) == {"published"}

        await eventually(marked, 5)
        opened = await world.checkpoints.look(PARTITION, owner.lease.token)
        assert not isinstance(opened, Fenced)
        assert await world.progress() == opened.at
        places = {(m["batch"], m["tag"]) async for m in world.database[OUTBOX].find()}
        assert places <= {(opened.at.batch, opened.at.tag), (opened.at.batch - 1, opened.previous[-1])}


@pytest.mark.usefixtures("never")
async def test_after_a_crash_all_that_was_not_marked_is_known(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        ids = await shown(world, watch, owner, "f1", "f2", "f1")
        assert set((await world.states()).values()) == {"pending"}
        successor = await world.owner("next")
        drained = await successor.drain()
        assert drained.reconciled
        assert (drained.reconciled.verdict, drained.reconciled.marked) == (Verdict.UNMARKED, 3)
        await successor.drain_all()
        assert await world.published_ids() == ids
        assert set((await world.states()).values()) == {"published"}


@pytest.mark.usefixtures("never")
async def test_after_a_crash_between_two_marks_the_rest_is_known(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        ids = await shown(world, watch, owner, "f1", "f2")
        assert owner.drainer._window
        lease, session, window = owner.lease, owner.drainer._session, owner.drainer._window
        assert session
        # The lease goes on, the marks never come, and more is published meanwhile.
        await owner.leases.hold(lease, session, window.batches[-1].at, after=window.at, intent=[])
        ids += await shown(world, watch, owner, "f3")
        drained = await (await world.owner("next")).drain()
        assert drained.reconciled
        assert (drained.reconciled.verdict, drained.reconciled.marked) == (Verdict.UNMARKED, 3)
        assert await world.published_ids() == ids


@pytest.mark.usefixtures("never")
async def test_a_fetch_comes_after_the_marks(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        ids = await shown(world, watch, owner, "f1", "f2")
        watch.inbox.doubt()
        await owner.drain_all()
        assert await world.published_ids() == ids


@pytest.mark.usefixtures("never")
async def test_the_batches_of_one_fetch_are_marked_together(world: World) -> None:
    await world.append("f1", "f2", "f3")
    owner = await world.owner(relay_batch_size=1)
    assert [(await owner.drain()).published for _ in range(2)] == [1, 1]
    assert set((await world.states()).values()) == {"pending"}
    await owner.drain()
    assert set((await world.states()).values()) == {"published"}
    opened = await world.checkpoints.look(PARTITION, owner.lease.token)
    assert not isinstance(opened, Fenced)
    assert await world.progress() == opened.at


@pytest.mark.usefixtures("never")
async def test_so_many_batches_are_marked_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MOST_BATCHES", 2)
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        await shown(world, watch, owner, "f1", "f2", "f3")
        assert sorted((await world.states()).values()) == ["pending", "published", "published"]
        await owner.drainer.finish()
        assert set((await world.states()).values()) == {"published"}


async def test_redis_goes_back_to_the_midst_of_what_is_marked_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "SECONDS", 3600.0)
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        await shown(world, watch, owner, "f1", "f2")
        copy = await world.remember()
        await shown(world, watch, owner, "f3")
        await owner.drainer.finish()
        await world.restore(copy)
        owner.drainer.doubt()
        assert (await owner.drain()).outcome is Outcome.REFUSED
        await owner.drain_all()
        assert await files(world) == ["f1", "f2", "f3"]


@pytest.mark.usefixtures("never")
async def test_what_is_lost_before_its_mark_comes_back_if_it_is_still_wanted(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        await shown(world, watch, owner, "f1", "f2")
        await world.settle("f1")
        await world.redis.flushall()
        owner.drainer.doubt()
        assert (await owner.drain()).outcome is Outcome.REFUSED
        await owner.drain_all()
        assert await files(world) == ["f2"]


async def test_a_worker_is_faster_than_the_mark(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        (id_,) = await world.append("f1")
        await watch.see()
        await owner.drain()
        done = await world.database[OUTBOX].update_one(*transitions.complete(Sent(id_, 1)))
        assert done.modified_count == 1
        await owner.drainer.finish()
        assert owner.drainer._window
        assert owner.drainer._window.error is None
        assert set((await world.states()).values()) == {"completed"}


async def test_a_mark_that_fails_ends_the_trust_in_what_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        await world.append("f1")
        await watch.see()
        successor = None
        publish = world.checkpoints.publish

        async def superseded(*args: object, **options: object) -> object:
            nonlocal successor
            answer = await publish(*args, **options)  # type: ignore[arg-type]
            successor = await world.owner("next")
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(world.checkpoints, "publish", superseded)
            await owner.drain()
        window = owner.drainer._window
        assert window
        await eventually(lambda: window.error, 5)
        assert (await owner.drain()).outcome is Outcome.LEASE_LOST
        assert successor
        await successor.drain_all()
        assert await files(world) == ["f1"]
        assert set((await world.states()).values()) == {"published"}


def test_what_a_checkpoint_says_of_the_batches_before() -> None:
    tags = tuple(letter * 16 for letter in "abc")
    opened = Opened(Progress(7, "d" * 16), tags, (), Range("1-1", "1-1"), "", other=False)
    assert [opened.follows(Progress(batch, tag)) for batch, tag in zip((4, 5, 6), tags, strict=True)] == [True] * 3
    assert not opened.follows(Progress(5, tags[0]))
    assert not opened.follows(Progress(3, tags[0]))
    assert not opened.follows(Progress(7, "d" * 16))
    assert not opened.follows(Progress(8, "e" * 16))

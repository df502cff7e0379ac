"""One of a partition's keys alone is older, or another one's: nothing is lost by it, and nothing is doubled (G4, G5).

An operator who puts one hash back from a copy does it, and so do tools that copy a Redis key by key while it is in use.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from structlog.testing import capture_logs

from outbox.protocol.checkpoint import Opened
from outbox.protocol.leases import Progress
from outbox.streams.declaration import Partition
from outbox.streams.keys import record_key
from outbox_relay.drained import Outcome
from outbox_relay.recovery import Verdict
from tests.relay.test_watch import Rounds
from tests.relay.world import STREAM, Owner, World, notice

CHECKPOINT, RECORD = STREAM.checkpoint_key(0), record_key(STREAM.key)
QUIET = Partition(STREAM.name, 1)


async def files(world: World) -> list[str]:
    return [entry["file_id"] for entry in await world.entries()]


async def all_published(world: World) -> bool:
    return set((await world.states()).values()) == {"published"}


async def goes_back(world: World, copy: dict[str, bytes], *keys: str) -> None:
    """Only these keys: all others stay as they are."""
    await world.restore({**await world.remember(), **{key: copy[key] for key in keys}})


async def _crash(*_: Any, **__: Any) -> Any:
    raise ConnectionError


# -- the checkpoint is older


async def test_an_older_checkpoint_alone_doubles_nothing(world: World) -> None:
    owner = await world.owner(relay_batch_size=1)
    await world.append("f1")
    await owner.drain_all()
    copy = await world.remember()
    await world.append("f2", "f3")
    await owner.drain_all()
    await goes_back(world, copy, CHECKPOINT)
    with capture_logs() as logs:
        assert await notice(owner) == 0
    [told] = [line for line in logs if "data loss" in line["event"]]
    assert (told["verdict"], told["recovered"], told["settled"], told["kept"]) == ("tail lost", 0, 0, 2)
    assert await files(world) == ["f1", "f2", "f3"]
    await world.append("f4")
    await owner.drain_all()
    assert await files(world) == ["f1", "f2", "f3", "f4"]
    assert await all_published(world)


async def test_what_was_not_marked_when_the_checkpoint_went_back_is_not_doubled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await world.owner(relay_batch_size=1)
    await world.append("f1")
    await owner.drain_all()
    copy = await world.remember()
    await world.append("f2")
    await owner.drain_all()
    await world.append("f3")
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "mark", _crash)
        with pytest.raises(ConnectionError):
            await owner.drain_all()
    await goes_back(world, copy, CHECKPOINT)
    await (await world.owner("next", relay_batch_size=1)).drain_all()
    assert await files(world) == ["f1", "f2", "f3"]
    assert await all_published(world)


async def test_of_a_tail_only_what_is_not_in_the_stream_comes_again(world: World) -> None:
    """Also what others, and other partitions, have added there does not stand for it."""
    owner = await world.owner(relay_batch_size=1)
    await world.append("f1")
    await owner.drain_all()
    oldest = await world.remember()
    await world.append("f2")
    await owner.drain_all()
    await world.redis.xadd(STREAM.key, {"file_id": "by hand"})
    older = await world.remember()
    await world.append("f3")
    await owner.drain_all()
    await world.restore({**older, CHECKPOINT: oldest[CHECKPOINT]})
    assert await notice(owner) == 1
    assert await files(world) == ["f1", "f2", "by hand", "f3"]
    assert await all_published(world)


async def test_the_search_behind_an_older_checkpoint_ends_where_the_stream_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other partitions go on, for as long as they have a backlog."""
    owner = await world.owner()
    await world.append("f1")
    await owner.drain_all()
    copy = await world.remember()
    await world.append("f2")
    await owner.drain_all()
    await goes_back(world, copy, CHECKPOINT)
    scan, pages = world.checkpoints.scan, list[Any]()

    async def while_others_add(*args: Any, **options: Any) -> AsyncGenerator[Any]:
        async with aclosing(scan(*args, **options | {"page": 1})) as found:
            async for page in found:
                pages.append(page)
                assert len(pages) < 5
                for _ in range(50):
                    await world.redis.xadd(STREAM.key, {"of": "others"})
                yield page

    monkeypatch.setattr(world.checkpoints, "scan", while_others_add)
    assert await notice(owner) == 0
    assert await all_published(world)


async def test_an_older_checkpoint_of_the_end_of_a_recovery_doubles_nothing(world: World) -> None:
    """It has no messages, and the stream was replaced: what its last batch's entries were says nothing any more."""
    owner = await world.owner(relay_batch_size=1)
    await world.append("f1")
    await owner.drain_all()
    await world.redis.delete(STREAM.key)
    await world.redis.xadd(STREAM.key, {"file_id": "by hand"}, id="1-1")
    owner.drainer.doubt()
    assert (await owner.drain()).outcome is Outcome.REFUSED
    await owner.drain()  # recovers, and publishes f1 again
    copy = await world.remember()
    await world.append("f2", "f3")
    await owner.drain_all()
    await goes_back(world, copy, CHECKPOINT)
    assert await notice(owner) == 0
    assert await files(world) == ["by hand", "f1", "f2", "f3"]
    assert await all_published(world)


# -- the checkpoint is newer: a copy of the keys one by one, and its checkpoint was read last


async def a_stream_behind_its_checkpoint(world: World, *lost: str) -> Owner:
    owner = await world.owner(relay_batch_size=1)
    await world.append("f1")
    await owner.drain_all()
    copy = await world.remember()
    await world.append(*lost)
    await owner.drain_all()
    await goes_back(world, copy, STREAM.key, RECORD)
    return owner


async def test_a_stream_behind_its_checkpoint_is_noticed_by_who_opens_it(world: World) -> None:
    await a_stream_behind_its_checkpoint(world, "f2", "f3")
    await world.append("f4")
    owner = await world.owner("next", relay_batch_size=1)
    reconciled = (await owner.drain()).reconciled
    assert reconciled
    assert reconciled.verdict is Verdict.OTHER_HISTORY
    await owner.drain_all()
    assert await files(world) == ["f1", "f2", "f3", "f4"]
    assert await all_published(world)


async def test_a_stream_behind_its_checkpoint_is_noticed_by_the_next_batch(world: World) -> None:
    owner = await a_stream_behind_its_checkpoint(world, "f2", "f3")
    await world.append("f4")
    assert (await owner.drain()).outcome is Outcome.REFUSED
    await owner.drain_all()
    assert await files(world) == ["f1", "f2", "f3", "f4"]
    assert await all_published(world)


async def test_a_stream_behind_its_checkpoint_is_noticed_while_nothing_is_published(world: World) -> None:
    owner = await a_stream_behind_its_checkpoint(world, "f2", "f3")
    rounds = Rounds(world, owner)
    assert await rounds.round() == 1
    assert await notice(owner) == 2
    assert await files(world) == ["f1", "f2", "f3"]
    assert await rounds.round() == 0


async def test_a_stream_behind_its_checkpoint_is_recovered_once(world: World) -> None:
    """Also when nothing is published after it, so that the stream still ends before what the checkpoint knew."""
    owner = await a_stream_behind_its_checkpoint(world, "f2", "f3")
    await world.settle("f2", "f3")
    assert await notice(owner) == 0
    assert await files(world) == ["f1"]
    assert sorted((await world.states()).values()) == ["completed", "completed", "published"]
    await _rests(world, owner)


async def _rests(world: World, owner: Owner) -> None:
    """Neither who has the partition nor who takes it sees a loss."""
    owner.drainer.doubt()
    assert (await owner.drain()).outcome is Outcome.EMPTY
    assert await Rounds(world, owner).round() == 0
    with capture_logs() as logs:
        await (await world.owner("another")).drain_all()
    assert not [line for line in logs if "data loss" in line["event"]]


async def test_a_stream_behind_one_checkpoint_is_another_one_for_all_partitions(world: World) -> None:
    """A quiet partition's checkpoint may be behind what a busy one has added before anybody looks at it."""
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    quiet = await world.checkpoints.open(QUIET, 1)
    assert isinstance(quiet, Opened)
    await world.checkpoints.stamp(QUIET, 1, Progress(1, "quiet"), quiet)
    copy = await world.remember()
    await world.append("f2")
    await owner.drain_all()
    await goes_back(world, copy, STREAM.key, RECORD)
    assert await notice(owner) == 1
    quiet = await world.checkpoints.look(QUIET, 1)
    assert isinstance(quiet, Opened)
    assert quiet.other


# -- the stream is another one that goes on further


async def another(world: World, *ids: str) -> None:
    for id_ in ids:
        await world.redis.xadd("{" + STREAM.key + "}another", {"file_id": "theirs"}, id=id_)


async def renamed(world: World) -> None:
    await world.redis.rename("{" + STREAM.key + "}another", STREAM.key)


async def a_trimmed_stream(world: World, keys: Sequence[str] = ("f1", "f2", "f3")) -> Owner:
    """The first message is settled, and its entry is not there any more."""
    owner = await world.owner(relay_batch_size=1)
    for key in keys[:-1]:
        await world.append(key)
        await owner.drain_all()
    await world.settle(keys[0])
    await world.redis.xtrim(STREAM.key, maxlen=len(keys) - 2, approximate=False)
    await world.append(keys[-1])
    await owner.drain_all()
    return owner


async def test_a_livelier_stream_in_the_place_of_ours_is_noticed(world: World) -> None:
    owner = await a_trimmed_stream(world)
    last = (await world.redis.xinfo_stream(STREAM.key))["last-generated-id"]
    await another(world, "1-1", "1-2", "1-3", "1-4", "1-5", f"{int(last.partition('-')[0]) + 1}-0")
    await renamed(world)
    assert await notice(owner) == 2
    assert (await files(world))[6:] == ["f2", "f3"]
    await _rests(world, owner)


async def test_the_first_entry_of_a_stream_that_was_empty_is_known(world: World) -> None:
    """From the batch itself: nothing else is published afterwards that would put it on record."""
    owner = await world.owner()
    await world.append("f1")
    await owner.drain_all()
    [(first, _)] = await world.stream()
    assert await world.redis.hget(RECORD, "first") == first


async def test_a_stream_that_is_trimmed_and_emptied_is_still_the_same(world: World) -> None:
    owner = await a_trimmed_stream(world)
    for left in (1, 0):
        await world.redis.xtrim(STREAM.key, maxlen=left, approximate=False)
        await _rests(world, owner)
        owner = await world.owner(f"after {left}")
        await owner.drain_all()
    await world.append("f4")
    assert await owner.drain_all() == 1
    await _rests(world, owner)


@pytest.mark.parametrize("first", [None, "", "x", "9" * 30, "0-0"])
async def test_a_record_that_tells_no_first_entry_says_nothing_about_it(world: World, first: str | None) -> None:
    """That of the version before has none, and anybody can write there."""
    owner = await a_trimmed_stream(world)
    await (world.redis.hdel(RECORD, "first") if first is None else world.redis.hset(RECORD, "first", first))
    await _rests(world, owner)
    owner = await world.owner("next")
    await world.append("f4")
    assert await owner.drain_all() == 1
    assert await world.redis.hget(RECORD, "first") == (await world.stream())[0][0]

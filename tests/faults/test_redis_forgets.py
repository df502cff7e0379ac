"""Redis that forgets: noticed within seconds without traffic, and recovered without a human (G5)."""

from __future__ import annotations

import random
import shutil

import pytest

from outbox.streams.declaration import FILES
from tests.faults import append_only_file
from tests.faults.scenario import CHECKPOINTS, STREAM, Scenario
from tests.slow import mostly
from tests.waiting import eventually

NOTICED = 5
"""Seconds within which a loss is noticed and repaired, without traffic."""

WITHOUT_FILES = {"appendonly": "no"}


async def something_is_published(scenario: Scenario, count: int = 40) -> None:
    """Some of it is settled already."""
    await scenario.append_many(count)
    await scenario.comes_to_rest()
    await scenario.settle("key-1", "key-2")


async def test_everything_is_flushed(scenario: Scenario) -> None:
    async with scenario.relay():
        await something_is_published(scenario)
        await scenario.lose("FLUSHALL")
        await scenario.comes_to_rest(NOTICED)
        assert scenario.told("redis data loss recovered", "error")
        assert [group["name"] for group in await scenario.groups()] == [FILES.group]
    await scenario.stays_at_rest()


async def test_everything_is_flushed_while_messages_are_published(scenario: Scenario) -> None:
    async with scenario.relay(), scenario.relay():
        async with scenario.appending():
            for _ in range(3):
                length = len(await scenario.stream())
                await eventually(lambda length=length: scenario.longer_than(length))  # type: ignore[misc]
                await scenario.lose_at_work("FLUSHALL")
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_everything_is_flushed_again_and_again(scenario: Scenario, dice: random.Random) -> None:
    """Also in the middle of a recovery."""
    async with scenario.relay(relay_batch_size=3, relay_verify_seconds=0.1):
        await something_is_published(scenario)
        for _ in range(5):
            length = dice.randrange(30)
            await eventually(lambda length=length: scenario.longer_than(length))  # type: ignore[misc]
            await scenario.lose_at_work("FLUSHALL")
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_everything_is_flushed_while_no_relay_runs(scenario: Scenario) -> None:
    async with scenario.relay():
        await something_is_published(scenario)
    await scenario.lose("FLUSHALL")
    await scenario.append("later-1", "later-2", "later-1")
    async with scenario.relay():
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_the_stream_is_deleted(scenario: Scenario) -> None:
    async with scenario.relay():
        await something_is_published(scenario)
        await scenario.lose("DEL", STREAM)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_the_stream_is_deleted_and_a_busy_partition_fills_it_before_a_quiet_one_looks(scenario: Scenario) -> None:
    """The quiet one published last when the stream was short; by the time it looks, the new one is longer."""
    quiet, busy = "key-0", next(key for key in map(str, range(99)) if FILES.partition_of(key) != _partition("key-0"))
    async with scenario.relay(relay_verify_seconds=2):
        await scenario.append(quiet)
        await scenario.comes_to_rest()
        await scenario.append(*[busy] * 30)
        await scenario.comes_to_rest()
        await scenario.lose("DEL", STREAM)
        await scenario.append(busy)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_the_stream_is_deleted_and_somebody_else_adds_to_it(scenario: Scenario) -> None:
    async with scenario.relay():
        await something_is_published(scenario)
        await scenario.lose("DEL", STREAM)
        for _ in range(3):
            await scenario.do("XADD", STREAM, "*", "file_id", "by hand")
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_a_worker_creates_the_deleted_stream_again(scenario: Scenario) -> None:
    async with scenario.relay():
        await something_is_published(scenario)
        # In one step, or the relay may have found the loss, and created the group, in between.
        again = "redis.call('DEL', KEYS[1]) return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '$', 'MKSTREAM')"
        await scenario.lose("EVAL", again, "1", STREAM, FILES.group)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_the_stream_is_replaced_by_an_older_copy(scenario: Scenario) -> None:
    async with scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        await scenario.do("COPY", STREAM, "older")
        await something_is_published(scenario, 20)
        async with scenario.loss():
            await scenario.do("RENAME", "older", STREAM)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.parametrize("which", [CHECKPOINTS[:1], CHECKPOINTS], ids=["one", "all"])
async def test_checkpoints_are_evicted(scenario: Scenario, which: list[str]) -> None:
    """All messages have survived, so that none is published again."""
    async with scenario.relay():
        await something_is_published(scenario)
        async with scenario.loss():
            await scenario.do("DEL", *which)
        await scenario.append("later-1", "later-2", "later-1")
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_a_replay_is_lost(scenario: Scenario) -> None:
    """The first entry survives, the one that the operator asked for does not: it comes once more."""
    async with scenario.relay():
        first, *_ = await scenario.append_many(20)
        await scenario.comes_to_rest()
        older = scenario.folder / "older"
        await scenario.do("BGREWRITEAOF")
        await scenario.written()
        shutil.copytree(append_only_file.folder(scenario.redis), older)
        await scenario.replay(first)
        await scenario.comes_to_rest()
        async with scenario.loss():
            append_only_file.restore(scenario.redis, older)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.parametrize("scenario", [WITHOUT_FILES], indirect=True, ids=["aof-off"])
async def test_killed_without_any_file(scenario: Scenario) -> None:
    async with scenario.relay():
        await something_is_published(scenario)
        async with scenario.loss():
            scenario.redis.kill()
            scenario.redis.start()
        assert not await scenario.stream()
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.parametrize("scenario", [WITHOUT_FILES], indirect=True, ids=["aof-off"])
async def test_killed_with_an_old_snapshot(scenario: Scenario) -> None:
    async with scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        await scenario.do("SAVE")
        await something_is_published(scenario)
        async with scenario.loss():
            scenario.redis.kill()
            scenario.redis.start()
        assert len(await scenario.stream()) >= 20
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.parametrize("cut", mostly([1, 20, 500, 4000], but=[20]))
async def test_the_tail_of_the_append_only_file_is_cut(scenario: Scenario, cut: int) -> None:
    async with scenario.relay(relay_batch_size=3):
        await something_is_published(scenario)
        async with scenario.loss():
            append_only_file.cut(scenario.redis, cut)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.slow
async def test_the_tail_is_cut_at_random_places(scenario: Scenario, dice: random.Random) -> None:
    async with scenario.relay(relay_batch_size=3):
        for _ in range(5):
            await something_is_published(scenario, 15)
            async with scenario.loss():
                append_only_file.cut(scenario.redis, dice.randrange(1, 6000))
            await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_an_older_copy_of_the_append_only_file_is_restored(scenario: Scenario) -> None:
    async with scenario.relay():
        await scenario.append_many(20)
        await scenario.comes_to_rest()
        await scenario.written()
        older = scenario.folder / "older"
        shutil.copytree(append_only_file.folder(scenario.redis), older)
        await something_is_published(scenario)
        async with scenario.loss():
            append_only_file.restore(scenario.redis, older)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


@pytest.mark.parametrize("at_rest", mostly([True, False], but=[False]), ids=["recovered", "recovering"])
async def test_the_stream_is_deleted_and_an_older_copy_brings_it_back(scenario: Scenario, at_rest: bool) -> None:
    """What had been lost, and been published again, is there as it was before: that has survived after all."""
    older = scenario.folder / "older"
    async with scenario.relay(relay_batch_size=3):
        await something_is_published(scenario)
        await scenario.written()
        shutil.copytree(append_only_file.folder(scenario.redis), older)
        await something_is_published(scenario, 10)
        await scenario.lose("DEL", STREAM)
        if at_rest:
            await scenario.comes_to_rest(NOTICED)
        else:
            await eventually(lambda: scenario.longer_than(5))
        async with scenario.loss():
            append_only_file.restore(scenario.redis, older)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


async def test_the_clock_of_redis_goes_back_an_hour(scenario: Scenario) -> None:
    """Entry ids go on from the last one, and a loss is noticed all the same."""
    async with scenario.relay():
        await something_is_published(scenario)
        last, _ = (await scenario.stream())[-1]
        await scenario.do("XSETID", STREAM, f"{int(last.partition('-')[0]) + 3_600_000}-0")
        await something_is_published(scenario)
        await scenario.lose("DEL", STREAM)
        await scenario.comes_to_rest(NOTICED)
    await scenario.stays_at_rest()


def _partition(key: str) -> int:
    return FILES.partition_of(key)

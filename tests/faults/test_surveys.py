"""A stream is searched once for all partitions that need it, and for none that does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outbox.protocol.checkpoint import Checkpoints
from outbox.protocol.losses import Losses
from tests.faults.scenario import CHECKPOINTS, Scenario
from tests.waiting import eventually

LONG = 60
"""Seconds. A lease that runs out while the process gets no turn makes its partition be opened, and looked for, anew."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many searches began, and of how many messages MongoDB was asked."""
    counts: Counter[str] = Counter()
    scan, partitions_of, any_left = Checkpoints.scan, Losses.partitions_of, Losses.any_left

    async def counted_scan(self: Checkpoints, *args: Any, **options: Any) -> AsyncIterator[Any]:
        counts["searches"] += 1
        if counts["searches"] == counts["held up"] == 1:  # as by a long stream: until all others wait for the next one
            await eventually(lambda: counts["asked"] >= len(CHECKPOINTS))
        async for page in scan(self, *args, **options):
            yield page

    async def counted_any(self: Losses, partition: Any, session: Any) -> bool:
        left = await any_left(self, partition, session)
        counts["asked"] += 1
        return left

    async def counted(self: Losses, ids: Any, session: Any) -> Any:
        counts["messages"] += len(ids)
        return await partitions_of(self, ids, session)

    monkeypatch.setattr(Checkpoints, "scan", counted_scan)
    monkeypatch.setattr(Losses, "partitions_of", counted)
    monkeypatch.setattr(Losses, "any_left", counted_any)
    return counts


async def test_a_stream_is_searched_once_for_all_partitions_that_lost_their_checkpoint(
    scenario: Scenario, made: Counter[str]
) -> None:
    async with scenario.relay():
        await scenario.append_many(200, keys=50)
        await scenario.comes_to_rest()
    async with scenario.loss():
        await scenario.do("DEL", *CHECKPOINTS)
    made.clear()
    made["held up"] = 1
    async with scenario.relay(relay_lease_seconds=LONG):
        await scenario.comes_to_rest()
        await eventually(lambda: _recovered(scenario))
    # Those that are opened while the first search is under way share the next one.
    assert 1 <= made["searches"] <= 2
    assert made["messages"] <= 2 * 200
    await scenario.stays_at_rest()


async def test_a_partition_without_messages_needs_no_search(scenario: Scenario, made: Counter[str]) -> None:
    for _ in range(100):
        await scenario.do("XADD", "file_parsing_queue", "*", "file_id", "by hand")
    async with scenario.relay(relay_lease_seconds=LONG):
        await scenario.append("a")
        await scenario.comes_to_rest()
        assert made["searches"] <= 1  # the message may be there before its partition is opened
    await scenario.stays_at_rest()


async def _recovered(scenario: Scenario) -> bool:
    """Every partition knows where it stands again."""
    return not [1 async for lease in scenario.database.outbox_partitions.find({"batch": 0})]

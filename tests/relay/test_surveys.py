"""A search that several partitions share: each page counts for each as if it were its own."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from outbox.errors import LookAgain
from outbox.protocol.checkpoint import Opened
from outbox_relay.surveys import Surveys
from tests.relay.world import PARTITION, World


async def test_a_page_counts_only_while_the_checkpoint_is_the_one_that_was_opened(world: World) -> None:
    """Also for a partition whose checkpoint is not the one that the search itself looks at."""
    await world.append("f1")
    owner = await world.owner()
    await owner.drain_all()
    surveys = Surveys(world.checkpoints, world.losses)
    opened = await world.checkpoints.open(PARTITION, owner.lease.token)
    assert isinstance(opened, Opened)
    another = Opened(opened.at, opened.previous, opened.messages, opened.entries, "another", opened.other)
    scan = world.checkpoints.scan
    async with world.client.start_session() as session:
        world.checkpoints.scan = lambda p, t, _: scan(p, t, opened)  # type: ignore[method-assign,assignment,misc]
        async with aclosing(surveys.pages(owner.lease, opened, session)) as pages:
            assert [len(sent) async for sent, _ in pages] == [1]
        async with aclosing(surveys.pages(owner.lease, another, session)) as pages:
            with pytest.raises(LookAgain):
                await anext(pages)

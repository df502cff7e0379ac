"""What others do by hand to messages, streams and workers: it is named, and stops nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from outbox.errors import UsageError
from outbox.worker import Message
from outbox.worker.processing import new_name
from tests.waiting import eventually
from tests.worker.workshop import Workshop


async def test_a_message_that_somebody_has_edited_is_dead_and_stops_nobody(workshop: Workshop) -> None:
    edits: dict[str, Any] = {"text": {"fields": "x"}, "list": {"fields": ["x"]}, "headers": {"headers": "x"}}
    ids = await workshop.publish(*edits, "good")
    await workshop.world.database.command("collMod", "outbox", validationLevel="off")
    for id_, edit in zip(ids, edits.values(), strict=False):
        await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": edit})

    async def handle(message: Message) -> None:
        await workshop.world.settle(message.key)

    async with workshop.working(handle, concurrency=2):
        await eventually(lambda: workshop.in_state("completed", ids[-1]))
        await eventually(lambda: workshop.in_state("dead", *ids[:-1]))
        await eventually(workshop.all_acknowledged)
    for id_ in ids[:-1]:
        assert "changed around the outbox" in (await workshop.message(id_))["last_error"]
    assert (await workshop.parsing("list")).startswith("error: ")


def test_a_consumer_s_name_that_no_server_takes_is_refused() -> None:
    """The worker would end at each start, with the traceback of a driver."""
    with pytest.raises(UsageError, match="no UTF-8"):
        new_name("w\udcff")

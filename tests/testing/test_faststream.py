"""The kit with the handlers of a FastStream application."""

from __future__ import annotations

from typing import Any

import pytest
from faststream.redis import RedisBroker, TestRedisBroker

from outbox.errors import UndeclaredStream
from outbox.faststream import CurrentMessage, OutboxWorker
from outbox.testing import Kit


@pytest.mark.parametrize("groups", [("shippers", "billing"), ("billing", "shippers"), (None, "billing")])
async def test_each_group_of_a_stream_has_its_own_handler(outbox_kit: Kit, groups: tuple[str | None, ...]) -> None:
    broker, seen = RedisBroker(), list[tuple[str, str]]()
    worker = OutboxWorker(broker, outbox_kit.settings)

    def handler(group: str) -> Any:
        async def handle(body: dict[str, str], message: CurrentMessage) -> None:
            seen.append((group, message.stream))

        return handle

    for group in groups:
        worker.subscriber("urgent", group=group)(handler(group or "shippers"))
    outbox_kit.append("urgent", {"item": "tea"}, key="tea")
    outbox_kit.append("urgent", {"item": "tea"}, key="tea", priority="high")
    async with TestRedisBroker(broker):
        worked = await outbox_kit.work(worker.handle)
    assert {message.state for message in worked} == {"completed"}
    assert sorted(seen) == [
        ("billing", "urgent:billing"),
        ("billing", "urgent:billing:high"),
        ("shippers", "urgent"),
        ("shippers", "urgent:high"),
    ]


@pytest.mark.parametrize("group", ["billing", None])
async def test_a_message_for_a_group_that_no_subscriber_reads_as_is_refused(outbox_kit: Kit, group: str | None) -> None:
    broker = RedisBroker()
    worker = OutboxWorker(broker, outbox_kit.settings)

    @worker.subscriber("urgent", group=group)
    async def handle(body: dict[str, str]) -> None: ...

    outbox_kit.append("urgent", {"item": "tea"}, key="tea")
    ours, others = outbox_kit.appended("urgent")
    if group:
        ours, others = others, ours
    async with TestRedisBroker(broker), outbox_kit.connect() as client:
        with pytest.raises(UndeclaredStream, match="no subscriber reads"):
            await outbox_kit.run(worker.handle, others, client=client)
        assert (await outbox_kit.run(worker.handle, ours, client=client)).state == "completed"

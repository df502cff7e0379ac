"""The kit with the handlers of a FastStream application."""

from __future__ import annotations

from typing import Any

import pytest
from faststream.redis import RedisBroker, RedisRouter, TestRedisBroker

from outbox.errors import UndeclaredStream, UsageError
from outbox.faststream import CurrentMessage, OutboxWorker, Session
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


async def test_a_broker_that_was_not_started_is_named(outbox_kit: Kit) -> None:
    worker = OutboxWorker(RedisBroker(), outbox_kit.settings)

    @worker.subscriber("orders")
    async def handle(body: dict[str, str]) -> None: ...

    message = outbox_kit.append("orders", {"item": "tea"}, key="tea")
    with pytest.raises(UsageError, match="the broker was not started: use `async with TestRedisBroker"):
        await outbox_kit.run(worker.handle, message)


async def test_the_prefix_of_a_router_is_part_of_the_streams_name(outbox_kit: Kit) -> None:
    router, broker = RedisRouter(prefix="ord"), RedisBroker()
    worker = OutboxWorker(router, outbox_kit.settings)

    @worker.subscriber("ers")
    async def handle(body: dict[str, str]) -> None: ...

    broker.include_router(router)
    outbox_kit.append("orders", {"item": "tea"}, key="tea")
    async with TestRedisBroker(broker):
        [message] = await outbox_kit.work(worker.handle)
    assert message.state == "completed"


async def test_what_a_handler_publishes_to_another_is_a_message_of_its_own(outbox_kit: Kit) -> None:
    """As it is in production, where it gets there through Redis."""
    broker = RedisBroker()
    worker = OutboxWorker(broker, outbox_kit.settings)
    sessions, messages = list[Any](), list[CurrentMessage]()

    @worker.subscriber("orders")
    async def handle(body: dict[str, str], session: Session, message: CurrentMessage) -> None:
        sessions.append(session)
        messages.append(message)
        await broker.publish({"item": "tea"}, stream="urgent")

    @worker.subscriber("urgent")
    async def hurry(body: dict[str, str], session: Session, message: CurrentMessage) -> None:
        sessions.append(session)
        messages.append(message)

    outbox_kit.append("orders", {"item": "tea"}, key="tea")
    async with TestRedisBroker(broker):
        [message] = await outbox_kit.work(worker.handle, "orders")
    assert message.state == "completed"
    assert [each.stream for each in messages] == ["orders", "urgent"]
    assert messages[0].id != messages[1].id
    assert sessions[0] is not sessions[1]

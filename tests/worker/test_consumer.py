"""A consumer on real servers: each message's effects once, whoever else has its entry."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox.errors import UsageError
from outbox.worker import Consumer, Message
from tests.waiting import eventually
from tests.worker.parser import Parser
from tests.worker.workshop import Workshop


async def test_the_effects_and_the_completion_are_there_together(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    async with workshop.working(parser):
        await eventually(lambda: workshop.in_state("completed", id_))
        await eventually(workshop.all_acknowledged)
    assert await parser.effects() == [id_]
    assert await workshop.parsing("a") == "parsed"
    [message] = parser.messages
    assert (message.id, message.stream, message.key, message.attempt) == (id_, "file_parsing_queue", "a", 1)
    assert message.fields == {"file_id": "a"}
    stored = await workshop.message(id_)
    assert (stored["attempts"], bool(stored["completed_at"])) == (1, True)


async def test_a_plain_function_gets_a_session_of_its_own_kind(workshop: Workshop) -> None:
    threads = set()

    def handle(message: Message, session: ClientSession) -> None:
        threads.add(threading.current_thread())
        files = session.client[workshop.world.database.name].files
        files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    ids = await workshop.publish("a", "b")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("completed", *ids))
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("plain", [True, False])
async def test_without_a_session_the_message_is_completed_after_the_work(plain: bool, workshop: Workshop) -> None:
    seen: list[str] = []

    async def handle(message: Message) -> None:
        await workshop.world.settle(message.key)
        seen.append(message.key)

    def handle_plain(message: Message) -> None:
        asyncio.run_coroutine_threadsafe(handle(message), loop).result()

    loop = asyncio.get_running_loop()
    ids = await workshop.publish("a", "b")
    async with workshop.working(handle_plain if plain else handle):
        await eventually(lambda: workshop.in_state("completed", *ids))
    assert sorted(seen) == ["a", "b"]


async def test_a_completed_message_is_acknowledged_without_a_call(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    async with workshop.working(parser):
        await eventually(workshop.all_acknowledged)
    await workshop.world.redis.xgroup_setid(workshop.stream.name, workshop.stream.group, "0")  # delivered once more
    async with workshop.working(parser):
        await eventually(workshop.all_acknowledged)
    assert len(parser.messages) == 1
    assert await parser.effects() == [id_]


async def test_what_is_late_after_a_rescue_has_no_effect(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    parser.work = asyncio.Event()
    async with workshop.working(parser):
        await eventually(lambda: parser.messages)
        await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": {"state": "pending"}})
        parser.work.set()
        await eventually(workshop.all_acknowledged)
        assert await parser.effects() == []
        assert await workshop.in_state("pending", id_)
        await workshop.owner.drain_all()
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await parser.effects() == [id_]
    assert [message.attempt for message in parser.messages] == [1, 2]


async def test_a_conflict_with_another_transaction_is_tried_again_and_is_no_failure(
    workshop: Workshop, parser: Parser
) -> None:
    [id_] = await workshop.publish("a")
    parser.gate = asyncio.Event()
    async with workshop.working(parser):
        await eventually(lambda: parser.at_gate)
        await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": {"touched": 1}})
        parser.gate.set()
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await parser.effects() == [id_]
    assert [message.attempt for message in parser.messages] == [1, 1]
    assert "failed" not in await workshop.message(id_)


async def test_a_stop_finishes_what_is_in_hand(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    parser.gate = asyncio.Event()
    async with workshop.working(parser) as consumer:
        await eventually(lambda: parser.messages)
        consumer.stop()
        await workshop.publish("b")
        parser.gate.set()
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await parser.effects() == [id_]


@pytest.mark.parametrize("plain", [True, False])
async def test_what_is_not_finished_in_time_is_given_back_and_that_is_no_failure(
    plain: bool, workshop: Workshop, parser: Parser
) -> None:
    [id_] = await workshop.publish("a")
    started, gate = threading.Event(), threading.Event()

    def endless(message: Message, session: ClientSession) -> None:
        files = session.client[workshop.world.database.name].files
        files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)
        started.set()
        gate.wait(20)

    async def endless_async(message: Message, session: AsyncClientSession) -> None:
        await parser(message, session)
        started.set()
        await asyncio.Event().wait()

    async with workshop.working(endless if plain else endless_async, stop_seconds=0.1) as consumer:
        await eventually(started.is_set)
        consumer.stop()
        await eventually(lambda: workshop.in_state("pending", id_))
        gate.set()
    message = await workshop.message(id_)
    assert (message["attempts"], message["forgiven"], message["returned"]) == (1, 1, 1)
    assert await workshop.parsing("a") == "queued"
    assert await workshop.unacknowledged() == 0
    await workshop.owner.drain_all()
    async with workshop.working(parser):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await parser.effects() == [id_]


async def test_a_handler_that_leaves_its_file_waiting_has_failed(workshop: Workshop) -> None:
    """Without this, the file would be `queued` for ever, and nobody would know."""

    async def forgets(message: Message, session: AsyncClientSession) -> None:
        await session.client[workshop.world.database.name].effects.insert_one({}, session=session)

    [id_] = await workshop.publish("a")
    async with workshop.working(forgets):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    message = await workshop.message(id_)
    assert (message["attempts"], message["failed"]) == (1, 1)
    assert "files.parsing of a is still 'queued'" in message["last_error"]
    assert message["available_at"]
    assert await workshop.world.database.effects.count_documents({}) == 0
    assert await workshop.unacknowledged() == 0


async def test_a_file_may_wait_for_the_next_step_of_the_work(workshop: Workshop) -> None:
    async def first_step(message: Message, session: AsyncClientSession) -> None:
        if message.fields.get("step") is None:
            fields = {**message.fields, "step": "second"}
            await workshop.world.outbox.append(session, message.stream, fields, key=message.key)

    [id_] = await workshop.publish("a")
    async with workshop.working(first_step):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await workshop.parsing("a") == "queued"
    assert sorted((await workshop.world.states()).values()) == ["completed", "pending"]


async def test_after_its_last_try_it_is_dead_and_its_file_says_so(workshop: Workshop) -> None:
    def breaks(message: Message, session: ClientSession) -> None:
        raise ValueError("no such\npage")

    [id_] = await workshop.publish("a")
    await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": {"state": "pending", "attempts": 4}})
    await workshop.owner.drain_all()
    async with workshop.working(breaks):
        await eventually(lambda: workshop.in_state("dead", id_))
        await eventually(workshop.all_acknowledged)
    assert await workshop.parsing("a") == "error: no such page"
    message = await workshop.message(id_)
    assert (message["attempts"], message["failed"]) == (5, 1)
    assert message["last_error"].startswith("ValueError: no such page")
    assert await workshop.world.entries() == []


async def test_its_name_leaves_the_group_with_it(
    workshop: Workshop, parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.worker.release.LEAVE_SECONDS", 60.0)  # however slow the machine is
    [id_] = await workshop.publish("a")
    async with workshop.working(parser):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await workshop.world.redis.xinfo_consumers(workshop.stream.name, workshop.stream.group) == []


async def test_a_message_that_is_gone_is_acknowledged(workshop: Workshop, parser: Parser) -> None:
    await workshop.publish("a")
    await workshop.world.database.outbox.delete_many({})
    async with workshop.working(parser):
        await eventually(workshop.all_acknowledged)
    assert parser.messages == []


async def test_an_entry_of_others_becomes_a_message_and_is_worked_on_once(workshop: Workshop, parser: Parser) -> None:
    await workshop.world.database.files.insert_one({"_id": "by hand", "parsing": "queued"})
    redis, stream = workshop.world.redis, workshop.stream
    await workshop.owner.drain_all()  # makes the stream and its group
    fields: dict[Any, Any] = {"file_id": "by hand", "reparse": "true"}
    await redis.xadd(stream.name, fields)
    async with workshop.working(parser):
        await eventually(workshop.world.states)
        await eventually(workshop.all_acknowledged)
        await workshop.owner.drain_all()
        await eventually(lambda: parser.messages)
        await eventually(workshop.all_acknowledged)
    [message] = parser.messages
    assert (message.key, message.fields) == ("by hand", fields)
    assert len(await parser.effects()) == 1


def test_what_cannot_be_a_handler_is_told(workshop: Workshop) -> None:
    def none() -> None: ...
    def three(a: int, b: int, c: int) -> None: ...
    def named(a: int, *, b: int) -> None: ...

    for wrong in (none, three, named, "text"):
        with pytest.raises(UsageError, match="a handler is handle"):
            Consumer(workshop.settings, wrong)  # type: ignore[arg-type]
